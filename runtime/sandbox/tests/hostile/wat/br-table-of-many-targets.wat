;; expect: good
;; Ten thousand targets of one branch.
(func (param i32)
    block
    local.get 0
    br_table
;; times 10000:  0
    end)
