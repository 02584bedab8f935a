;; expect: model-deadline
;; The answer is right; forgetting takes for ever.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"state\":\"stream\",\"max_batch\":1,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(func (export "dunlin_reset") (loop $l (br $l)))
