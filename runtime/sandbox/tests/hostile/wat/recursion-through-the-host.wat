;; expect: model-stack
;; The host is called at the bottom of each frame: the host's own stack must suffice.
(import "dunlin" "log" (func $log (param i32 i32 i32)))
(func $f (call $log (i32.const 0) (i32.const 0) (i32.const 16)) (call $f))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $f) unreachable)
