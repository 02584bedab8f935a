;; expect: model-status-reserved
;; says: 256
;; A status that no model may return.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i32.const 256))
