;; expect: model-deadline
;; A passive segment, written again and again.
(data $d "0123456789abcdef")
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (memory.init $d (i32.const 4096) (i32.const 0) (i32.const 16)) (br $l)) unreachable)
