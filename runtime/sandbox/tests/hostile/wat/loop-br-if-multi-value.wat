;; expect: model-deadline
;; A loop that carries its values on the operand stack.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (i32.const 1) (i64.const 2)
    (loop $l (param i32 i64) (result i32 i64) (br_if $l (i32.const 1)))
    drop)
