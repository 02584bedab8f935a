;; expect: module-export-type
;; says: as (func (param i32)), it must be (func (result i32))
;; What is optional has a type all the same.
(func (export "dunlin_init") (param i32))
