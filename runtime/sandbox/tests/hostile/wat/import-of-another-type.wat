;; expect: module-import-type
;; says: the host has (func (param i32 i32 i32))
;; A parameter too few.
(import "dunlin" "log" (func (param i32 i32)))
