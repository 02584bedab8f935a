;; expect: module-too-large
;; says: (types)
;; A section of types of more than 1 MiB.
;; times 300000: (type (func (param i32)))
