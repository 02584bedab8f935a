;; expect: module-memory
;; says: there is none
;; No memory at all.
(module (@card))
