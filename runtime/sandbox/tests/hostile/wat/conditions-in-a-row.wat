;; expect: good
;; Five thousand conditions in a row, each of which may leave: as many blocks for the register allocator.
(func (param i32)
;; times 5000: (br_if 0 (i32.eq (local.get 0) (i32.const {i}))) 
)
