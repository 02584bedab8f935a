;; expect: module-start-section
;; says: _initialize
;; Code that would run on its own and for ever, before anybody sets a deadline.
(func $sneak (loop $l (br $l)))
(start $sneak)
