;; expect: model-dim
;; says: extent 2, the card's maximum is 1
;; It claims more elements than its card allows.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[{\"max\":1}]}]}")
(func (export "dunlin_dim") (param i32 i32) (result i32) (i32.const 2))
