;; expect: model-pointer
;; says: leads outside of memory
;; Aligned, and the end passes 32 bits.
(func (export "dunlin_input") (param i32) (result i32) (i32.const 0xfffffff0))
