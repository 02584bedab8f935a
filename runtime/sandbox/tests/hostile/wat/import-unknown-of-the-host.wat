;; expect: module-import-foreign
;; says: "exec"
;; A function that the host does not have.
(import "dunlin" "exec" (func (param i32 i32) (result i32)))
