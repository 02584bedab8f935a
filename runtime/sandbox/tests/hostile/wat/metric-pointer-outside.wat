;; expect: model-trap
;; says: `metric` was called with 2 bytes
;; A name that reaches one byte too far.
(import "dunlin" "metric" (func $metric (param i32 i32 f64)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $metric (i32.const 65535) (i32.const 2) (f64.const 0)) unreachable)
