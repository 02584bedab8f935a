;; expect: module-export-missing
;; says: dunlin_input
;; A model without dunlin_input.
;; without: dunlin_input
