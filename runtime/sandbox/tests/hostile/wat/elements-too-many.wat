;; expect: module-too-large
;; says: (elements)
;; A section of elements of more than 1 MiB.
(func $f)
(table 1 funcref)
;; times 300000: (elem func $f)
