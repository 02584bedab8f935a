;; expect: module-card-invalid
;; A card without a byte.
(@custom "dunlin.card" (before first) "")
