;; expect: module-memory
;; says: shared
;; A memory that is shared between threads, which no limit of growth would meet.
(memory (export "memory") 1 2 shared)
