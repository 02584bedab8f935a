;; expect: module-invalid
;; The same through the table.
(type $t (func))
(table 1 1 funcref)
(func (return_call_indirect (type $t) (i32.const 0)))
