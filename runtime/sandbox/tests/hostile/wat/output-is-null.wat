;; expect: model-pointer
;; says: more tensors than the model gave addresses for
;; The null pointer of a toolchain with a stack, aligned and inside of memory.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"stack_bytes\":1024,\"max_batch\":3,\"producer\":\"test\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[\"n\",4]}],"
    "\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[\"n\",1]}]}")
(func (export "dunlin_output") (param i32) (result i32) (i32.const 0))
