;; expect: module-memory
;; says: 64-bit
;; Addresses of 64 bits.
(module (@card) (memory (export "memory") i64 1))
