;; expect: model-trap
;; says: uninitialized
;; The element that it calls is empty.
(type $t (func))
(table 1 1 funcref)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call_indirect (type $t) (i32.const 0)) unreachable)
