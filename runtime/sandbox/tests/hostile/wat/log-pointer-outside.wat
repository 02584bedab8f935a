;; expect: model-trap
;; says: `log` was called with 1 bytes at 0xffffffff
;; A line at the greatest address.
(import "dunlin" "log" (func $log (param i32 i32 i32)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $log (i32.const 0) (i32.const -1) (i32.const 1)) unreachable)
