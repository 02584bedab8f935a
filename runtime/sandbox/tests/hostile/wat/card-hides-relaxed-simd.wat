;; expect: module-card-contradicts-code
;; says: needs "relaxed"
;; Relaxed vectors in the code, strict ones on the card.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"simd\":\"deterministic\",\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(func (param v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))
