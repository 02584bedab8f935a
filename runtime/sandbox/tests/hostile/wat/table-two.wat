;; expect: module-invalid
;; One table is all there is.
(table 1 funcref)
(table 1 funcref)
