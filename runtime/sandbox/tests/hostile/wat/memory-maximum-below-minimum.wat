;; expect: module-invalid
;; It ends before it begins.
(memory (export "memory") 2 1)
