;; expect: good
;; A thousand blocks around one another.
(func
;; times 1000: block 
;; times 1000: end 
)
