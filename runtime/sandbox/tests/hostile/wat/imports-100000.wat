;; expect: module-too-large
;; says: (imports)
;; A hundred thousand imports.
;; times 100000: (import "dunlin" "log" (func (param i32 i32 i32)))
