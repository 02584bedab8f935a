;; expect: good
;; A maximum is a wish: nothing is reserved for it.
(memory (export "memory") 1 65536)
