;; expect: module-export-missing
;; says: linked as a program
;; without: dunlin_infer
;; A program has an entry of its own and exports nothing else.
(func (export "_start"))
