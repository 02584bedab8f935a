;; expect: module-card-contradicts-code
;; says: needs "deterministic"
;; The only vector is a global.
(global v128 (v128.const i64x2 0 0))
