;; expect: model-trap
;; says: out of bounds
;; An element segment reaches behind the end of the table.
(table 1 1 funcref)
(elem (i32.const 1) $f)
(func $f)
