;; expect: module-card-contradicts-code
;; says: 65537 together
;; Stack and arena of one byte more than there is memory.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"stack_bytes\":1024,\"arena_bytes\":64513,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
