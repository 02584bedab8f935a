;; expect: module-card-invalid
;; A card that ends in the middle.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"max_")
