;; expect: good
;; Memory grows while addresses are asked for: each is held against the memory of its moment.
(func (export "dunlin_output") (param i32) (result i32) 
    (drop (memory.grow (i32.const 1)))
    (i32.const 65536))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (call $sum (local.get $n)))
    (f32.store (i32.const 65536) (f32.load (i32.const 2048)))
    (i32.const 0))
