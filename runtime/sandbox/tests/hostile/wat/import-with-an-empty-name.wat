;; expect: module-import-foreign
;; says: ""
;; Names may be empty.
(import "" "" (func))
