;; expect: module-card-contradicts-code
;; says: needs "deterministic"
;; The only vector is a local that nobody uses.
(func (local v128))
