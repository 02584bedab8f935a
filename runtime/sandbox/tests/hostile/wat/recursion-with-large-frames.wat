;; expect: model-stack
;; Frames of tens of kilobytes: a thousand vectors live across the call, so that few calls pass any guard.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"simd\":\"deterministic\",\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(func $f (param i32) (result v128)
;; times 1000: (v128.load (i32.mul (local.get 0) (i32.const {i})))
    (call $f (i32.add (local.get 0) (i32.const 1)))
;; times 1000: i8x16.add 
)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (call $f (i32.const 1))) unreachable)
