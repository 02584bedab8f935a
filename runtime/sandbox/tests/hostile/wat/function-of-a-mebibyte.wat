;; expect: module-too-large
;; says: ("bomb")
;; One function of more than 1 MiB.
(func $bomb
;; times 1048576: nop 
)
