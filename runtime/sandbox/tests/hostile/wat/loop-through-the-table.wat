;; expect: model-deadline
;; The loop's body is a call through the table.
(type $nothing (func))
(table 1 1 funcref) (elem (i32.const 0) $b)
(func $b)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (call_indirect (type $nothing) (i32.const 0)) (br $l)) unreachable)
