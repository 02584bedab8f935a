;; expect: model-pointer
;; says: overlap
;; Input and output in one place.
(func (export "dunlin_output") (param i32) (result i32) (i32.const 1024))
