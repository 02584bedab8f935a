;; expect: model-deadline
;; It counts and does not stop.
(import "dunlin" "metric" (func $metric (param i32 i32 f64)))
(data (i32.const 4096) "queue-length")
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (call $metric (i32.const 4096) (i32.const 12) (f64.const 1)) (br $l)) unreachable)
