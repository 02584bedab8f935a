//! Codes of modules and their admission.

super::codes! {
    NOT_WASM = "module-not-wasm", Refused,
        "The file is not a WebAssembly module: it does not start with the WebAssembly magic number.",
        "Pass the `.wasm` file that `dunlin compile` or the guest SDK made.";
    COMPONENT = "module-is-component", Refused,
        "The file is a WebAssembly component, not a core module.",
        "Build for `wasm32-unknown-unknown` and do not wrap the module into a component.";
    BOUND = "module-too-large", Refused,
        "The module exceeds a fixed bound on what is parsed and compiled at all.",
        "The message names the bound; make the module smaller, or split the function that is too large.";
    INVALID = "module-invalid", Refused,
        "The module is damaged, or uses a WebAssembly feature that is not admitted.",
        "Build without threads, 64-bit memory, multiple memories, exceptions, tail calls and garbage collection.";
    START = "module-start-section", Refused,
        "The module has a start section, which would run code before anything is checked.",
        "Export the start-up code as `_initialize` or `dunlin_init` instead.";
    CONSTRUCTORS = "module-constructors", Refused,
        "Each export of the module runs the constructors of global objects again, before it does its work.",
        "Use `DUNLIN_CARD` of `dunlin.h`, or export a function as `_initialize` that calls `__wasm_call_ctors`.";
    CARD_COUNT = "module-card-count", Refused,
        "The module does not have exactly one `dunlin.card` section.",
        "Build the model with `dunlin compile` or with the guest SDK, which write the card.";
    CARD_INVALID = "module-card-invalid", Refused,
        "The module's card does not parse, or contradicts itself.",
        "The message names the field; build the model with a `dunlin` of the same version as the host.";
    CARD_DIGEST = "module-card-digest", Refused,
        "The module's card is not the one that the signed release names.",
        "Make the release again from the module that you publish.";
    CARD_CODE = "module-card-contradicts-code", Refused,
        "The card claims less than the module needs: SIMD instructions, stack or arena.",
        "Correct the card, or build the module again so that its builder writes it.";
    IMPORT_FOREIGN = "module-import-foreign", Refused,
        "The module imports something that no Dunlin host offers, for example WASI.",
        "Build for `wasm32-unknown-unknown` without files, clocks, randomness or printing.";
    IMPORT_TYPE = "module-import-type", Refused,
        "The module imports a host function with another type than the host's.",
        "Build against the guest SDK of the same ABI version.";
    IMPORT_NOT_GRANTED = "module-import-not-granted", Refused,
        "The module imports a host function that its release does not grant.",
        "Grant the import in the release, or build the model without it.";
    EXPORT_MISSING = "module-export-missing", Refused,
        "The module lacks an export that its card makes necessary.",
        "Export it; `docs/abi.md` lists names and types.";
    EXPORT_TYPE = "module-export-type", Refused,
        "The module exports something under a name of the ABI with another type.",
        "Give the export the type that `docs/abi.md` lists.";
    MEMORY = "module-memory", Refused,
        "The module does not define exactly one plain 32-bit memory of its own.",
        "Define one memory, neither imported nor shared, and export it as `memory`.";
    LIMIT = "module-over-limit", Refused,
        "The module needs more memory, table or stack than its limits allow.",
        "Raise the limit in the release if the device can bear it, or make the model smaller.";
    COMPILE = "module-compile", Failed,
        "The module was admitted, but the compiler refused it.",
        "Report it with the message; a smaller function or an older producer may avoid it.";
    NATIVE = "module-native", Failed,
        "Stored machine code was not made for this engine or machine.",
        "The agent compiles the module again by itself; a precompiled variant must be made for this version and target.";
    NO_PRECOMPILED = "module-no-precompiled", Refused,
        "The device cannot compile, and the release has no machine code that it may run.",
        "Attach a variant for its target and wasmtime (`dunlin compile --precompile`), sign the release with the role `precompiled`, and let the owner of the site set `site.allow_precompiled`.";
    COMPILE_LIMIT = "module-compile-limit", Refused,
        "Compiling the module, or its golden vectors, took more memory or time than the device allows.",
        "Make the module's functions smaller; `limits.compile_memory_bytes` and `limits.compile_s` raise the bounds.";
    ENGINE = "module-engine", Failed,
        "The WebAssembly engine cannot start on this machine.",
        "The message tells why: a processor that Cranelift does not know, or no thread or memory left.";
}
