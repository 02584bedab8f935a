;; expect: module-too-large
;; says: 20001 branches of one function
;; The same in one instruction.
(func (param i32)
    local.get 0
    br_table
;; times 20001:  0
)
