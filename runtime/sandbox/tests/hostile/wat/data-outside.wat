;; expect: model-trap
;; says: out of bounds
;; A data segment reaches behind the end of memory: found when the instance is made.
(data (i32.const 65535) "ab")
