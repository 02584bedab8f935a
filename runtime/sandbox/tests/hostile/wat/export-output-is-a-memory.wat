;; expect: module-export-type
;; says: (memory)
;; A memory under the name of a function.
(memory (export "memory") (export "dunlin_output") 1)
