;; expect: module-card-contradicts-code
;; says: needs "deterministic"
;; The only vector is a parameter, which is passed on at most.
(func (param v128))
