;; expect: module-invalid
;; Atomic instructions on a memory of its own.
(func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
