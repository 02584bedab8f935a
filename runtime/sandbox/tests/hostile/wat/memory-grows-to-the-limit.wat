;; expect: good
;; It takes page after page until it gets no more, and goes on.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (if (i32.ne (memory.size) (i32.const 1024)) (then unreachable))
    (call $sum (local.get $n)))
