;; expect: module-card-invalid
;; says: unsafe
;; A key that nobody knows: half understood is not understood.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"unsafe\":true,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
