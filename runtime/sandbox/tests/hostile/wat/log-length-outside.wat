;; expect: model-trap
;; says: outside of memory
;; A line of 4 GiB.
(import "dunlin" "log" (func $log (param i32 i32 i32)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $log (i32.const 0) (i32.const 0) (i32.const -1)) unreachable)
