;; expect: model-deadline
;; A loop that ends, after 2^64 turns.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (local $i i64)
    (loop $l (br_if $l (i64.ne (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 0))))
    unreachable)
