//! Imports and exports: what a module asks of the host and what it offers, by name and type.
//!
//! The tables at the end are the types of ABI 1; names come from `dunlin-abi`.

use dunlin_abi::{Card, Dim, IMPORT_MODULE, Import, State, export};
use wasmparser::types::TypesRef;
use wasmparser::{ExportSectionReader, ExternalKind, FuncType, ImportSectionReader, TypeRef, ValType};

use crate::admission::AdmissionError;
use crate::names::quoted;

/// What the import and export sections say; types are resolved when the whole module is known.
#[derive(Default)]
pub(crate) struct Surface<'a> {
    imports: Vec<(Import, TypeRef)>,
    exports: Vec<(&'a str, ExternalKind, u32)>,
}

impl<'a> Surface<'a> {
    /// Takes the import section; anything foreign is refused before more is read.
    pub(crate) fn imports(&mut self, reader: ImportSectionReader<'a>) -> Result<(), AdmissionError> {
        for import in reader.into_imports() {
            let import = import.map_err(|error| damaged(&error))?;
            let known = (import.module == IMPORT_MODULE).then(|| Import::from_name(import.name)).flatten();
            let Some(known) = known else {
                return Err(AdmissionError::ImportForeign {
                    module: quoted(import.module),
                    name: quoted(import.name),
                    hint: origin(import.module, import.name),
                });
            };
            self.imports.push((known, import.ty));
        }
        Ok(())
    }

    /// Takes the export section.
    pub(crate) fn exports(&mut self, reader: ExportSectionReader<'a>) -> Result<(), AdmissionError> {
        for export in reader {
            let export = export.map_err(|error| damaged(&error))?;
            self.exports.push((export.name, export.kind, export.index));
        }
        Ok(())
    }

    /// The index of an exported function.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        let found =
            self.exports.iter().find(|(found, kind, _)| *found == name && *kind == ExternalKind::Func);
        found.map(|(_, _, index)| *index)
    }

    /// How many functions it imports; there are no other imports.
    pub(crate) fn imported(&self) -> u32 {
        u32::try_from(self.imports.len()).unwrap_or(u32::MAX)
    }

    /// Checks every type, and that nothing is missing which the card makes necessary. Gives the
    /// imports, each once, and the names of all exports.
    pub(crate) fn check(
        &self,
        card: &Card,
        types: TypesRef<'_>,
    ) -> Result<(Vec<Import>, Vec<String>), AdmissionError> {
        let mut imports = Vec::new();
        for (import, entity) in &self.imports {
            check_import(*import, *entity, types)?;
            if !imports.contains(import) {
                imports.push(*import);
            }
        }
        self.check_memory()?;
        for required in requirements(card) {
            self.check_export(&required, types)?;
        }
        imports.sort_unstable();
        Ok((imports, self.exports.iter().map(|(name, ..)| (*name).to_string()).collect()))
    }

    fn check_memory(&self) -> Result<(), AdmissionError> {
        match self.exports.iter().find(|(name, ..)| *name == export::MEMORY) {
            Some((_, ExternalKind::Memory, _)) => Ok(()),
            Some((_, kind, _)) => Err(AdmissionError::ExportType {
                name: export::MEMORY,
                wanted: "(memory)".into(),
                got: kind_name(*kind).into(),
            }),
            None => Err(AdmissionError::ExportMissing {
                name: export::MEMORY,
                does: "is where the host writes inputs and reads outputs",
                wanted: "(memory)".into(),
                reason: "every model needs it",
                hint: "",
            }),
        }
    }

    fn check_export(&self, required: &Requirement, types: TypesRef<'_>) -> Result<(), AdmissionError> {
        let Requirement { name, does, ref signature, reason } = *required;
        let Some((_, kind, index)) = self.exports.iter().find(|(found, ..)| *found == name) else {
            return match reason {
                Some(reason) => {
                    let (wanted, hint) = (signature.to_string(), self.why_missing());
                    Err(AdmissionError::ExportMissing { name, does, wanted, reason, hint })
                }
                None => Ok(()),
            };
        };
        let got = match kind {
            ExternalKind::Func => {
                let found = types[types.core_function_at(*index)].unwrap_func();
                if found == signature {
                    return Ok(());
                }
                found.to_string()
            }
            other => kind_name(*other).to_string(),
        };
        Err(AdmissionError::ExportType { name, wanted: signature.to_string(), got })
    }
}

impl Surface<'_> {
    /// What the exports that are there tell of one that is not.
    fn why_missing(&self) -> &'static str {
        let has = |wanted: &str| self.exports.iter().any(|(name, ..)| *name == wanted);
        if has("_start") || has("main") {
            "; it was linked as a program, with an entry of its own: link it as a library (in Rust \
             `crate-type = [\"cdylib\"]`, in C `-Wl,--no-entry` and no `main`)"
        } else if self.exports.iter().all(|(_, kind, _)| *kind != ExternalKind::Func) {
            "; it exports no function at all: in Rust only `#[unsafe(no_mangle)] extern \"C\"` functions of the \
             cdylib are exported, `dunlin_guest::model!` writes them; in C those that dunlin.h declares"
        } else {
            ""
        }
    }
}

/// Where an import comes from that no host has, and what to do about it.
fn origin(module: &str, name: &str) -> &'static str {
    if module.starts_with("wasi") {
        "this module was linked with a standard library for WASI, to open files, print, or read a clock. In Rust, \
         build for wasm32-unknown-unknown, with `#![cfg_attr(target_arch = \"wasm32\", no_std)]`; in C, with \
         `-nostdlib` and without printf, malloc or assert"
    } else if module.starts_with("__wbindgen") || name.starts_with("__wb") {
        "this module was made for JavaScript by wasm-bindgen, which some crate pulled in (often getrandom, uuid or \
         chrono): `cargo tree -i wasm-bindgen` says which; build without it"
    } else if module == "env"
        && matches!(name, "memory" | "__memory_base" | "__stack_pointer" | "__table_base")
    {
        "the linker was told to take the memory from the host: link a module of its own, without \
         `--import-memory`, `-shared` or `-pie`"
    } else if module == "env" && matches!(name, "memcpy" | "memset" | "memmove" | "memcmp" | "strlen") {
        "the compiler wrote a call of the C library, and none is linked: pass `-mbulk-memory -ffreestanding`, or \
         define the function"
    } else if module == "env" && name == "abort" {
        "in AssemblyScript, `--use abort=` takes the import away, or names a function of your own; in C, call \
         `dunlin_panic` and not `abort`"
    } else if module == "env" {
        "the linker found no function of this name and left it to the host: define it, or link what has it. Of the \
         mathematics, `__builtin_sqrtf`, `__builtin_fabsf` and `__builtin_floorf` with `-fno-math-errno` are \
         instructions"
    } else {
        "build for wasm32-unknown-unknown"
    }
}

fn damaged(error: &wasmparser::Error) -> AdmissionError {
    AdmissionError::Invalid {
        message: error.message().to_string(),
        offset: error.offset(),
        place: String::new(),
    }
}

fn check_import(import: Import, entity: TypeRef, types: TypesRef<'_>) -> Result<(), AdmissionError> {
    let wanted = import_signature(import);
    let got = match entity {
        TypeRef::Func(index) => {
            let found = types[types.core_type_at_in_module(index)].unwrap_func();
            if *found == wanted {
                return Ok(());
            }
            found.to_string()
        }
        TypeRef::Table(_) => "(table)".to_string(),
        TypeRef::Memory(_) => "(memory)".to_string(),
        TypeRef::Global(_) => "(global)".to_string(),
        TypeRef::Tag(_) => "(tag)".to_string(),
        TypeRef::FuncExact(_) => "(func exact)".to_string(),
    };
    Err(AdmissionError::ImportType { name: import.name(), wanted: wanted.to_string(), got })
}

fn kind_name(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func => "(func)",
        ExternalKind::Table => "(table)",
        ExternalKind::Memory => "(memory)",
        ExternalKind::Global => "(global)",
        ExternalKind::Tag => "(tag)",
        ExternalKind::FuncExact => "(func exact)",
    }
}

/// The type of a host function.
fn import_signature(import: Import) -> FuncType {
    use ValType::{F64, I32, I64};
    match import {
        Import::Log => FuncType::new([I32, I32, I32], []),
        Import::Metric => FuncType::new([I32, I32, F64], []),
        Import::Clock => FuncType::new([], [I64]),
    }
}

/// A function that a model exports: its type, and why this model must have it, if it must.
struct Requirement {
    name: &'static str,
    does: &'static str,
    signature: FuncType,
    reason: Option<&'static str>,
}

/// Every function of ABI 1, for the model that a card tells of.
fn requirements(card: &Card) -> [Requirement; 8] {
    use ValType::I32;
    let dynamic = card.outputs.iter().flat_map(|output| &output.shape).any(|d| matches!(d, Dim::AtMost(_)));
    let always = Some("every model needs it");
    let dim = dynamic.then_some("the card has an output with an axis of data-dependent extent");
    let reset = (card.state == State::Stream).then_some("the card says `stream`");
    [
        (export::INPUT, "gives the address of an input", FuncType::new([I32], [I32]), always),
        (export::OUTPUT, "gives the address of an output", FuncType::new([I32], [I32]), always),
        (export::INFER, "computes the outputs of `n` samples", FuncType::new([I32], [I32]), always),
        (export::DIM, "gives the extent of an axis after a call", FuncType::new([I32, I32], [I32]), dim),
        (export::RESET, "forgets what the stream has been", FuncType::new([], []), reset),
        (export::INITIALIZE, "prepares the toolchain's runtime", FuncType::new([], []), None),
        (export::INIT, "prepares the model", FuncType::new([], [I32]), None),
        (export::ERROR, "gives the address of a trap's message", FuncType::new([], [I32]), None),
    ]
    .map(|(name, does, signature, reason)| Requirement { name, does, signature, reason })
}
