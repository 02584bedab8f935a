;; expect: module-too-large
;; 2^32 - 1 locals in one declaration of five bytes.
(module binary "\00asm" "\01\00\00\00"
    "\01\04\01\60\00\00"  ;; type 0: []
    "\03\02\01\00"          ;; function 0
    "\0a\0b\01\09\01"       ;; its body: one declaration
    "\ff\ff\ff\ff\0f\7f"    ;; of 2^32 - 1 times i32
    "\01\0b")
