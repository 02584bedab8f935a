;; expect: module-import-type
;; says: (global)
;; A number under the name of a function.
(import "dunlin" "metric" (global f64))
