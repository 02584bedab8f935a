;; expect: good
;; LLVM writes the table's index of a `call_indirect` as a number of five bytes, so that its linker may patch
;; it: overlong for a zero, and beyond WebAssembly 1.0, which has a zero byte there. Rust's own modules are so.
(module binary
    "\00asm" "\01\00\00\00"
    "\00\9d\01" "\0bdunlin.card"  ;; the card
    "{\"abi\":1,\"max_batch\":1,\"producer\":\"rustc\""
    ",\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],\"outputs\":[{\"name\":\"sum\",\"dtype\":\"f32\",\"shape\":[1]}]}"
    "\01\0a"  ;; types
    "\02"
    "\60\01\7f\01\7f"  ;; type 0: [i32] -> [i32]
    "\60\00\01\7d"  ;; type 1: [] -> [f32]
    "\03\05"  ;; functions
    "\04\00\00\00\01"  ;; input, output, infer, and the sum
    "\04\05"  ;; table
    "\01\70\01\02\02"  ;; 2 funcref
    "\05\03"  ;; memory
    "\01\00\01"  ;; 1 page
    "\07\38" "\04"  ;; exports
    "\06memory\02\00"
    "\0cdunlin_input\00\00"
    "\0ddunlin_output\00\01"
    "\0cdunlin_infer\00\02"
    "\09\07"  ;; elements
    "\01\00\41\01\0b\01\03"  ;; element 1 is function 3
    "\0a\3f"  ;; code
    "\04"
    "\05\00\41\80\08\0b"  ;; i32.const 1024
    "\05\00\41\80\10\0b"  ;; i32.const 2048
    "\13\00\41\80\10\41\01"  ;; i32.const 2048, i32.const 1
    "\11\01\80\80\80\80\00"  ;; call_indirect of type 1 in table 0, in five bytes
    "\38\02\00\41\00\0b"  ;; f32.store, i32.const 0
    "\1d\00\41\00\2a\02\80\08"  ;; f32.load offset=1024
    "\41\00\2a\02\84\08\92"  ;; f32.load offset=1028, f32.add
    "\41\00\2a\02\88\08\92"  ;; the same of 1032
    "\41\00\2a\02\8c\08\92\0b"  ;; and 1036
)
