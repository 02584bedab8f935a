;; expect: model-trap
;; says: out of bounds
;; The address and the offset together pass 32 bits.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (i32.load offset=0xffffffff (i32.const -1))) unreachable)
