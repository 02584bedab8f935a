;; expect: module-too-large
;; says: 10001 data segments
;; More than 10,000 data segments.
;; times 10001: (data "")
