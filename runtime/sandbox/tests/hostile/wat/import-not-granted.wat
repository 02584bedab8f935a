;; expect: module-import-not-granted
;; says: "clock"
;; A function that the host has, and the release does not grant.
(import "dunlin" "clock" (func (result i64)))
