;; expect: module-invalid
;; A function whose body goes on behind its end.
(module binary "\00asm" "\01\00\00\00"
    "\01\04\01\60\00\00"  ;; type 0: []
    "\03\02\01\00"          ;; function 0
    "\0a\05\01\03\00\0b\0b")
