;; expect: module-too-large
;; says: 2001 locals of one function
;; One function with more than 2,000 locals.
(func
;; times 2001: (local i32)
)
