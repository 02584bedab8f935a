;; expect: model-trap
;; says: out of bounds
;; Source and length pass 32 bits.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (memory.copy (i32.const 0) (i32.const -1) (i32.const 2)) unreachable)
