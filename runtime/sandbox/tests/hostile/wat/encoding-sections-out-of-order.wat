;; expect: module-invalid
;; The functions come before their types.
(module binary "\00asm" "\01\00\00\00"
    "\03\02\01\00"          ;; function 0
    "\01\04\01\60\00\00"  ;; type 0: []
    "\0a\04\01\02\00\0b")
