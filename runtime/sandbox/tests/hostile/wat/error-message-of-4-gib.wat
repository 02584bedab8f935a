;; expect: model-trap
;; says: unreachable
;; The words about a trap are 4 GiB long: they are not read.
(data (i32.const 4096) "\ff\ff\ff\ff")
(func (export "dunlin_error") (result i32) (i32.const 4096))
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    unreachable)
