;; expect: module-export-type
;; says: (func)
;; A function under the name of the memory.
(memory 1)
(func (export "memory"))
