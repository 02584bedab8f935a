;; expect: module-invalid
;; A call of a typed reference.
(type $t (func))
(func $f (call_ref $t (ref.func $f)))
(elem declare func $f)
