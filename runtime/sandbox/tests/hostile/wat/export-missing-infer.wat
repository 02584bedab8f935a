;; expect: module-export-missing
;; says: dunlin_infer
;; A model without dunlin_infer.
;; without: dunlin_infer
