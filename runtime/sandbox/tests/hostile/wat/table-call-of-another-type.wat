;; expect: model-trap
;; says: type mismatch
;; The element that it calls has another type.
(type $t (func (param i64) (result i64)))
(table 1 1 funcref) (elem (i32.const 0) $infer)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (drop (call_indirect (type $t) (i64.const 0) (i32.const 0))) unreachable)
