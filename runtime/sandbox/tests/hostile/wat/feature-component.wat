;; expect: module-is-component
;; A component, not a core module.
(module binary "\00asm" "\0d\00\01\00")
