;; expect: module-not-wasm
;; says: not a WebAssembly module
;; Not WebAssembly at all.
(module binary "\7fELF" "\02\01\01\00")
