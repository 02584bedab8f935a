;; expect: module-invalid
;; says: duplicate export
;; One name for two functions.
(func (export "f"))
(func (export "f"))
