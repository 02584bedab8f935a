;; expect: model-deadline
;; Two counted loops around one another, of 2^32 turns each: proven to end, in centuries.
(func $infer (export "dunlin_infer") (param $n i32) (result i32)
    (local $i i32) (local $j i32)
    i32.const 0 local.set $i
    loop
        i32.const 0 local.set $j
        loop local.get $j i32.const 1 i32.sub local.tee $j br_if 0 end
        local.get $i i32.const 1 i32.sub local.tee $i br_if 0
    end
    unreachable)
