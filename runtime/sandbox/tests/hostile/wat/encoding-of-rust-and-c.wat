;; expect: good
;; What compilers emit: a table, a stack pointer, bulk memory, sign extension, saturating conversions.
(table 2 2 funcref) (elem (i32.const 1) $sum)
(type $f (func (param i32) (result i32)))
(global $sp (mut i32) (i32.const 1000)) (export "__stack_pointer" (global $sp))
(func (export "dunlin_infer") (param $n i32) (result i32)
    (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 8))
    (drop (i32.extend8_s (i32.trunc_sat_f32_s (f32.const nan))))
    (call_indirect (type $f) (local.get $n) (i32.const 1)))
