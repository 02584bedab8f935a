;; expect: model-trap
;; says: unreachable
;; The address of the input is no number but a trap.
(func (export "dunlin_input") (param i32) (result i32) unreachable)
