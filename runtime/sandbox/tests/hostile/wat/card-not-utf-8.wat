;; expect: module-card-invalid
;; A card of other bytes.
(@custom "dunlin.card" (before first) "{\"abi\":1,\"producer\":\"\ff\fe\"}")
