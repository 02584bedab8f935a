;; expect: module-too-large
;; says: (globals)
;; A section of globals of more than 1 MiB.
;; times 220000: (global i32 (i32.const 0))
