;; expect: model-deadline
;; The loop comes before the first inference.
(func (export "_initialize") (loop $l (br $l)))
