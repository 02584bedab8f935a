;; expect: model-deadline
;; The loop comes before the first inference.
(func (export "dunlin_init") (result i32) (loop $l (br $l)) unreachable)
