;; expect: model-trap
;; says: invalid conversion
;; It converts a NaN to an integer.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i32.trunc_f32_s (f32.const nan)))
