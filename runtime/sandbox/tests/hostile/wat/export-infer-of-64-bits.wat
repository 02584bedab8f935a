;; expect: module-export-type
;; says: (param i64)
;; Sixty-four bits where thirty-two are meant.
(func (export "dunlin_infer") (param i64) (result i64) (local.get 0))
