;; expect: module-card-invalid
;; Extents whose product passes 64 bits.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4294967295,4294967295,4294967295]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
