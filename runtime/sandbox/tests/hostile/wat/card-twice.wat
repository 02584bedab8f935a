;; expect: module-card-count
;; says: 2 `dunlin.card` sections
;; Two cards, of which the second one lies.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(@custom "dunlin.card" "{}")
