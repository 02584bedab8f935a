;; expect: model-deadline
;; Every target of a br_table leads back into a loop.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $outer (loop $inner (br_table $outer $inner $outer (local.get $n)))) unreachable)
