;; expect: model-deadline
;; It asks for one page more, for ever, whatever the answer.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable)
