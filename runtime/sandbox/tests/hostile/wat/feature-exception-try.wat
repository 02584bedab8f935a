;; expect: module-invalid
;; It would catch what stops it.
(func (block $all (try_table (catch_all $all))))
