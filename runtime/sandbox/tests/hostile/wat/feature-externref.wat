;; expect: module-invalid
;; A reference to something of the host.
(func (drop (ref.null extern)))
