;; expect: module-invalid
;; Version 2 of the format.
(module binary "\00asm" "\02\00\00\00")
