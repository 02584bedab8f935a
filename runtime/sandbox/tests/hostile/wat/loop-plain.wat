;; expect: model-deadline
;; The plainest loop without an end.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (br $l)) unreachable)
