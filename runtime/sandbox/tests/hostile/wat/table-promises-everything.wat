;; expect: good
;; A maximum of 2^32 - 1 is a wish.
(table 1 0xffffffff funcref)
