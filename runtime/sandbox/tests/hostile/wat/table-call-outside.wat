;; expect: model-trap
;; says: out of bounds
;; The element that it calls lies behind the end.
(type $t (func))
(table 1 1 funcref)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call_indirect (type $t) (i32.const -1)) unreachable)
