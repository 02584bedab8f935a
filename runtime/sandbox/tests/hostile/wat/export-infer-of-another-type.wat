;; expect: module-export-type
;; says: it must be (func (param i32) (result i32))
;; One result too few: the host would read a register that nobody wrote.
(func (export "dunlin_infer") (param i32))
