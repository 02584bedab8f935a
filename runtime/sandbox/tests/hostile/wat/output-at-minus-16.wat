;; expect: model-pointer
;; says: leads outside of memory
;; A negative address.
(func (export "dunlin_output") (param i32) (result i32) (i32.const -16))
