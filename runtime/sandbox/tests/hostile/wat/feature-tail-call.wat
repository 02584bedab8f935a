;; expect: module-invalid
;; A loop without a loop: recursion that takes no stack.
(func $f return_call $f)
