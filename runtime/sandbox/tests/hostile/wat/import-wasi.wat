;; expect: module-import-foreign
;; says: imports "fd_write" from "wasi_snapshot_preview1"
;; What every C program wants.
(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
