;; expect: module-card-count
;; says: 0 `dunlin.card` sections
;; No card.
;; without: dunlin.card
