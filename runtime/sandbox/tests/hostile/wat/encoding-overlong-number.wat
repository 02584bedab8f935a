;; expect: module-invalid
;; A number of six bytes, where five hold all 32 bits.
(module binary "\00asm" "\01\00\00\00" "\01\84\80\80\80\80\00" "\01\60\00\00")
