;; expect: module-import-type
;; says: (table)
;; A table under the name of a function.
(import "dunlin" "log" (table 1 funcref))
