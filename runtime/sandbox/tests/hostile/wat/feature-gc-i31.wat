;; expect: module-invalid
;; A number as a reference.
(func (drop (ref.i31 (i32.const 1))))
