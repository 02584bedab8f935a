;; expect: good
;; Ten thousand blocks around one another, for a compiler that recurses.
(func
;; times 10000: block 
;; times 10000: end 
)
