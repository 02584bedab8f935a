;; expect: module-invalid
;; A function with more parameters than the format allows.
(type (func
;; times 1001: (param i64)
))
