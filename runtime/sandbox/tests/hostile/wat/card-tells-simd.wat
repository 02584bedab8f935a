;; expect: good
;; Vectors in the code and on the card, and more of them on the card.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"simd\":\"relaxed\",\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(func (param v128) (drop (f32x4.add (local.get 0) (local.get 0))))
(func (param v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))
