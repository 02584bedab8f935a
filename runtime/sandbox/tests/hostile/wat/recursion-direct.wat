;; expect: model-stack
;; says: "infer"
;; It calls itself.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $infer (local.get $n)))
