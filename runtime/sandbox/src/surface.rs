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
                wanted: "(memory)".into(),
                reason: "every model needs it",
            }),
        }
    }

    fn check_export(&self, required: &Requirement, types: TypesRef<'_>) -> Result<(), AdmissionError> {
        let Requirement { name, ref signature, reason } = *required;
        let Some((_, kind, index)) = self.exports.iter().find(|(found, ..)| *found == name) else {
            return match reason {
                Some(reason) => {
                    Err(AdmissionError::ExportMissing { name, wanted: signature.to_string(), reason })
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
        (export::INPUT, FuncType::new([I32], [I32]), always),
        (export::OUTPUT, FuncType::new([I32], [I32]), always),
        (export::INFER, FuncType::new([I32], [I32]), always),
        (export::DIM, FuncType::new([I32, I32], [I32]), dim),
        (export::RESET, FuncType::new([], []), reset),
        (export::INITIALIZE, FuncType::new([], []), None),
        (export::INIT, FuncType::new([], [I32]), None),
        (export::ERROR, FuncType::new([], [I32]), None),
    ]
    .map(|(name, signature, reason)| Requirement { name, signature, reason })
}
