;; expect: model-trap
;; says: out of bounds
;; A length of 4 GiB.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (memory.fill (i32.const 1) (i32.const 0) (i32.const -1)) unreachable)
