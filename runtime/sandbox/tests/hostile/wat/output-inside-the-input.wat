;; expect: model-pointer
;; says: overlap
;; The output lies in the third sample of the input.
(func (export "dunlin_output") (param i32) (result i32) (i32.const 1056))
