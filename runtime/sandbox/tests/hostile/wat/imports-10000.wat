;; expect: good
;; The same import ten thousand times, which is legal.
;; times 10000: (import "dunlin" "log" (func (param i32 i32 i32)))
