;; expect: module-too-large
;; says: custom sections
;; More than 1,000 custom sections.
;; times 1001: (@custom "x" "")
