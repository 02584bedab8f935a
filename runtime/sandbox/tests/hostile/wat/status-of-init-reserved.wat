;; expect: model-status-reserved
;; says: 1000
;; The same before the first inference.
(func (export "dunlin_init") (result i32) (i32.const 1000))
