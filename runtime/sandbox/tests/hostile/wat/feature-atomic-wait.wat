;; expect: module-invalid
;; It would sleep in the host, where no deadline is looked at.
(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
