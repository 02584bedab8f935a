;; expect: module-import-foreign
;; says: "memory" from "env"
;; A memory of nobody, exported as its own.
(import "env" "memory" (memory 1))
(export "memory" (memory 0))
