;; expect: model-trap
;; says: out of bounds
;; A segment that was dropped is empty.
(data $d "0123456789abcdef")
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (data.drop $d)
    (memory.init $d (i32.const 4096) (i32.const 0) (i32.const 16)) unreachable)
