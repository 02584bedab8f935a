;; expect: module-invalid
;; A table of things of the host.
(table 1 externref)
