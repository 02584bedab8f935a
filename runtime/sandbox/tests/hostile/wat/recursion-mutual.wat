;; expect: model-stack
;; Two call each other.
(func $a call $b)
(func $b call $a)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $a) unreachable)
