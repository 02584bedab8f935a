;; expect: module-export-missing
;; says: "memory"
;; There is a memory, under another name.
(memory (export "heap") 1)
;; without: memory
