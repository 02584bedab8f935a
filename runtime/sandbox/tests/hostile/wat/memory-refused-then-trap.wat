;; expect: model-memory
;; says: the limit is 67108864
;; An allocator that gives up when memory is refused.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 100)) (i32.const -1))))
    unreachable)
