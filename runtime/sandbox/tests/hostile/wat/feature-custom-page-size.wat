;; expect: module-memory
;; says: pages of another size
;; Pages of one byte.
(memory (export "memory") 65536 (pagesize 1))
