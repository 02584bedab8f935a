;; expect: model-trap
;; says: unreachable
;; The words about a trap lie outside of memory: they are not read.
(func (export "dunlin_error") (result i32) (i32.const -1))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    unreachable)
