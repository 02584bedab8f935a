;; expect: model-deadline
;; It waits for a NaN to equal itself.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l (br_if $l (f32.ne (f32.const nan) (f32.const nan)))) unreachable)
