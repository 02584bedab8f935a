;; expect: module-too-large
;; says: 10001 locals of one function
;; One function with more than 10,000 locals.
(func
;; times 10001: (local i32)
)
