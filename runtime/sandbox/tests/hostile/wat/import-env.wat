;; expect: module-import-foreign
;; says: "foo" from "env"
;; A function of nobody.
(import "env" "foo" (func))
