;; expect: module-over-limit
;; says: 10001 elements, the limit is 10000
;; One element above the limit.
(table 10001 funcref)
