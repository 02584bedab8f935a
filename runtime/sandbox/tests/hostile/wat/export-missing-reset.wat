;; expect: module-export-missing
;; says: dunlin_reset
;; The card says that it remembers.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"state\":\"stream\",\"max_batch\":1,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
