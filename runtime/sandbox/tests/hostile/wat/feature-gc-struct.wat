;; expect: module-invalid
;; A heap of the host's.
(type (struct (field i32)))
