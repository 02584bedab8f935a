;; expect: module-start-section
;; says: ("sneak")
;; Code that would run on its own.
(func $sneak)
(start $sneak)
