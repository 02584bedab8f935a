;; expect: module-invalid
;; A function as a value.
(func (local funcref))
