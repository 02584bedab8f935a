;; expect: module-export-type
;; says: (global)
;; A number under the name of a function.
(global (export "dunlin_input") i32 (i32.const 1024))
