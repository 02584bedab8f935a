;; expect: module-card-invalid
;; A card of more than 65,536 bytes.
(@custom "dunlin.card" (before first) "{\"abi\":1"
;; times 70000: " " 
"}")
