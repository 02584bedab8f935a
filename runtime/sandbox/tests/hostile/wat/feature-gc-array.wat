;; expect: module-invalid
;; An array of 2^32 - 1 elements on the host's heap.
(type $a (array (mut i32)))
(func (drop (array.new_default $a (i32.const -1))))
