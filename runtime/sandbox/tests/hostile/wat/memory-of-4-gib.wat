;; expect: good
;; It asks for all that 32 bits can address, in one step: -1, and it goes on.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))
    (call $sum (local.get $n)))
