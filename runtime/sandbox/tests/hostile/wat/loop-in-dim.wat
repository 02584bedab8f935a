;; expect: model-deadline
;; The inference is done, but its extent is never told.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[{\"max\":1}]}]}")
(func (export "dunlin_dim") (param i32 i32) (result i32) (loop $l (br $l)) unreachable)
