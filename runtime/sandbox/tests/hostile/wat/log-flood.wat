;; expect: good
;; A million lines in a call: a bucket of them is kept, the rest counted, and the answer is right.
(import "dunlin" "log" (func $log (param i32 i32 i32)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (local $i i32)
    (loop $l
        (call $log (i32.const 0) (i32.const 0) (i32.const 65536))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
    (call $sum (local.get $n)))
