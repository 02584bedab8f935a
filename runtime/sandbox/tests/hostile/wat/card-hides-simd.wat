;; expect: module-card-contradicts-code
;; says: needs "deterministic" in function 0 ("dense")
;; Vectors in the code, none on the card.
(func $dense (drop (f32x4.add (v128.const i64x2 0 0) (v128.const i64x2 0 0))))
