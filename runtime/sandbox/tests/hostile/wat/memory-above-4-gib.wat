;; expect: module-invalid
;; More pages than 32 bits can address.
(memory (export "memory") 65537)
