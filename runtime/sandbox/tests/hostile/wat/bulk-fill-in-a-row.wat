;; expect: model-deadline
;; The largest memory, filled a thousand times in a row: between two fills there is neither a loop nor a call.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (memory.grow (i32.const 1023)))
;; times 1000: (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000))
    unreachable)
