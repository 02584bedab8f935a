;; expect: model-pointer
;; says: leads outside of memory
;; The first sample fits, the batch does not.
(func (export "dunlin_input") (param i32) (result i32) (i32.const 65504))
