;; expect: module-invalid
;; Tables do not grow.
(table $t 1 funcref)
(func (drop (table.grow $t (ref.null func) (i32.const 1))))
