;; expect: good
;; Each answer is another address: it is asked once, and what it said first is what counts.
(global $at (mut i32) (i32.const 1008))
(func (export "dunlin_input") (param i32) (result i32) 
    (global.set $at (i32.add (global.get $at) (i32.const 16)))
    (global.get $at))
