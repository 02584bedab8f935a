;; expect: model-deadline
;; The address of the error message is never told.
(func (export "dunlin_error") (result i32) (loop $l (br $l)) unreachable)
