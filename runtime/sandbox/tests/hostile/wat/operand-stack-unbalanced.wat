;; expect: module-invalid
;; 400,000 values on the operand stack at the end, where none may be.
(func
;; times 400000: i32.const 0 
)
