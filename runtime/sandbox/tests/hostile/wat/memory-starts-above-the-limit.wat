;; expect: module-over-limit
;; says: 67174400 bytes, the limit is 67108864
;; One page above the limit, before anything runs.
(memory (export "memory") 1025)
