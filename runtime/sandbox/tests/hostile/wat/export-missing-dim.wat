;; expect: module-export-missing
;; says: dunlin_dim
;; The card has an extent that depends on the data.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[{\"max\":1}]}]}")
