;; expect: good
;; A thousand values that live at once.
(func (param i32) (result i32)
;; times 1000: (i32.add (local.get 0) (i32.const {i})) 
;; times 999: i32.xor 
)
