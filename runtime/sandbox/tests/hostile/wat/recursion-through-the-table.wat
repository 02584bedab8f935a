;; expect: model-stack
;; It calls itself through the table, where no proof can see it.
(type $t (func (param i32) (result i32)))
(table 1 1 funcref) (elem (i32.const 0) $infer)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (call_indirect (type $t) (local.get $n) (i32.const 0)))
