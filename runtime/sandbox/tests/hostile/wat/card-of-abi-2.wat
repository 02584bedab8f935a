;; expect: module-card-invalid
;; says: ABI 2
;; A card of tomorrow.
(@custom "dunlin.card" (before first) "{\"abi\":2,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
