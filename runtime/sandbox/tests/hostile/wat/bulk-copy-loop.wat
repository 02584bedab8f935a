;; expect: model-deadline
;; Half of the largest memory, copied over the other half by one byte askew, again and again.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (memory.grow (i32.const 1023)))
    (loop $l (memory.copy (i32.const 1) (i32.const 0x1ffffff) (i32.const 0x2000000)) (br $l)) unreachable)
