;; expect: model-deadline
;; Two functions take turns: the loop of one calls the other, whose loops are short.
(func $b (local $i i32)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3)))))
(func $a (loop $l (call $b) (br $l)))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $a) unreachable)
