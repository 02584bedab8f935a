;; expect: model-pointer
;; says: not 16-byte aligned
;; Aligned for floats, not for vectors.
(func (export "dunlin_input") (param i32) (result i32) (i32.const 1028))
