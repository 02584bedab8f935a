;; expect: module-too-large
;; says: table elements
;; The largest table that the format allows: 80 MB of pointers.
(table 10000000 funcref)
