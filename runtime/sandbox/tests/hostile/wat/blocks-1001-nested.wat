;; expect: module-too-large
;; says: 1001 blocks around one another
;; One more: 100,000 of them took the compiler 18 seconds.
(func
;; times 1001: block 
;; times 1001: end 
)
