;; expect: module-card-invalid
;; says: max_batch
;; Two answers to one question.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
