;; expect: module-card-invalid
;; says: max_batch
;; A batch of nothing.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":0,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
