;; expect: model-deadline
;; The address of the input is never told.
(func (export "dunlin_input") (param i32) (result i32) (loop $l (br $l)) unreachable)
