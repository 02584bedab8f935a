;; expect: module-too-large
;; says: 20001 branches of one function
;; Branches from so many places to one: 100,000 of them took the compiler 28 seconds.
(func (param i32)
;; times 20001: (br_if 0 (local.get 0)) 
)
