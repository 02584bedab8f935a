;; expect: module-too-large
;; says: functions
;; More than 20,000 functions.
;; times 20000: (func)
