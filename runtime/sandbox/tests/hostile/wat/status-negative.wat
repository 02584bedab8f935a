;; expect: model-status-reserved
;; says: -2147483648
;; The least status that fits.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i32.const 0x80000000))
