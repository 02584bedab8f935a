;; expect: model-trap
;; says: divide by zero
;; It divides by zero.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i32.div_u (local.get $n) (i32.const 0)))
