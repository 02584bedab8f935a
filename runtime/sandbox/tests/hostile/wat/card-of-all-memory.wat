;; expect: good
;; Stack and arena fill the memory to its last byte.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"stack_bytes\":1024,\"arena_bytes\":64512,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
