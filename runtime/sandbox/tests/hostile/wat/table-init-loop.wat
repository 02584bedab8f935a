;; expect: model-deadline
;; A passive element segment, written again and again.
(table 2 2 funcref)
(elem $e func $infer $infer)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (table.init $e (i32.const 0) (i32.const 0) (i32.const 2)) (br $l)) unreachable)
