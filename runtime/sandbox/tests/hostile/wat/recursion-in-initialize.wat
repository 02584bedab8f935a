;; expect: model-stack
;; It calls itself before the first inference.
(func $f (export "_initialize") (call $f))
