;; expect: module-too-large
;; says: (exports)
;; A hundred thousand names.
(func $f)
;; times 100000: (export "function{i}" (func $f))
