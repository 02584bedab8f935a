;; expect: model-deadline
;; The largest memory that is granted, filled again and again: nobody checks the time within one fill.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (memory.grow (i32.const 1023)))
    (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000)) (br $l)) unreachable)
