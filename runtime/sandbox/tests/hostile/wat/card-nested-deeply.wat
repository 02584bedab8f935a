;; expect: module-card-invalid
;; Sixty thousand open brackets, for a reader that recurses.
(@custom "dunlin.card" (before first) "{\"abi\":"
;; times 60000: "[" 
)
