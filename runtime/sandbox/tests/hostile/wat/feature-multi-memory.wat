;; expect: module-memory
;; says: second
;; A second memory beside the one that is limited.
(memory (export "memory") 1)
(memory 1)
