;; expect: module-import-foreign
;; says: \u{1b}[2J
;; A name that would clear the screen on which it is reported.
(import "dunlin\1b[2J" "log" (func))
