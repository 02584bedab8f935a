;; expect: model-output-not-finite
;; says: is NaN
;; An answer that is no number.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (f32.store (i32.const 2048) (f32.const nan:0x200001)) (i32.const 0))
