;; expect: model-deadline
;; The largest table that is granted, moved to and fro.
(table 10000 10000 funcref)
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (loop $l
        (table.copy (i32.const 1) (i32.const 0) (i32.const 9999))
        (table.copy (i32.const 0) (i32.const 1) (i32.const 9999)) (br $l)) unreachable)
