;; expect: module-export-missing
;; says: dunlin_output
;; A model without dunlin_output.
;; without: dunlin_output
