;; expect: model-output-not-finite
;; says: is -inf
;; An answer without end.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (f32.store (i32.const 2048) (f32.const -inf)) (i32.const 0))
