;; expect: model-deadline
;; 2^60 calls without a loop, of which never more than 60 are open.
(func $f (param i32)
    (if (local.get 0) (then
        (call $f (i32.sub (local.get 0) (i32.const 1)))
        (call $f (i32.sub (local.get 0) (i32.const 1))))))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call $f (i32.const 60)) unreachable)
