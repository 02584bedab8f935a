;; expect: model-trap
;; says: out of bounds
;; The last of eight bytes lies outside.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i64.store (i32.const 65529) (i64.const -1)) unreachable)
