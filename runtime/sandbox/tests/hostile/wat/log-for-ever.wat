;; expect: model-deadline
;; It talks and does not stop: the time of the host's functions is its own.
(import "dunlin" "log" (func $log (param i32 i32 i32)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (call $log (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l)) unreachable)
