;; expect: module-too-large
;; says: 65 loops around one another
;; A thousand loops around one another, with 2,000 locals, took the compiler half a minute.
(func
;; times 65: loop 
;; times 65: end 
)
