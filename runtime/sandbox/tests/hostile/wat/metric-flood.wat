;; expect: good
;; A million metrics in a call, every second one without a number: a bucket of them is kept.
(import "dunlin" "metric" (func $metric (param i32 i32 f64)))
(data (i32.const 4096) "queue-length")
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (local $i i32)
    (loop $l
        (call $metric (i32.const 4096) (i32.const 12)
            (f64.div (f64.const 0) (f64.convert_i32_u (i32.and (local.get $i) (i32.const 1)))))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
    (call $sum (local.get $n)))
