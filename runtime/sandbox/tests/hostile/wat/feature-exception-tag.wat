;; expect: module-invalid
;; A tag of exceptions.
(tag (param i32))
