//! Decides whether a module may run, before any of it does.

use dunlin_abi::{Card, CardError, Import};
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::{Digest, VerifiedArtifact};

use crate::inspect::{Summary, inspect};
use crate::limits::{Admission, Limits, MAX_STACK_BYTES};
use crate::native::Facts;

/// A module that keeps to ABI 1 and to the terms of its release. Made by [`admit`] alone.
#[derive(Clone, Debug)]
pub struct AdmittedModel {
    artifact: VerifiedArtifact,
    summary: Summary,
    limits: Limits,
}

impl AdmittedModel {
    /// What the module is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What the module says of itself.
    pub fn card(&self) -> &Card {
        &self.summary.card
    }

    /// The sha256 of the artifact.
    pub fn digest(&self) -> Digest {
        self.artifact.digest()
    }

    /// What one instance may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What an engine must know of it beside its machine code.
    pub fn facts(&self) -> Facts {
        Facts {
            artifact: self.artifact.digest(),
            card: self.summary.card.clone(),
            work: self.summary.work.clone(),
            limits: self.limits.clone(),
        }
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn artifact(&self) -> &VerifiedArtifact {
        &self.artifact
    }
}

/// Admits a verified artifact on the terms of its release, without running any of it.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do.
pub fn admit(artifact: VerifiedArtifact, admission: &Admission) -> Result<AdmittedModel, AdmissionError> {
    let limits = admission.limits.clone();
    if limits.stack_bytes > MAX_STACK_BYTES {
        return Err(AdmissionError::StackLimit { limit: limits.stack_bytes });
    }
    let summary = inspect(artifact.bytes())?;
    if let Some(expected) = admission.card_digest
        && expected != summary.card_digest
    {
        return Err(AdmissionError::CardDigest { expected, actual: summary.card_digest });
    }
    if let Some(import) = summary.imports.iter().find(|import| !admission.imports.contains(import)) {
        return Err(AdmissionError::ImportNotGranted(*import));
    }
    if summary.memory_min_bytes > limits.memory_bytes {
        return Err(AdmissionError::MemoryLimit {
            needs: summary.memory_min_bytes,
            limit: limits.memory_bytes,
        });
    }
    if summary.table_elements > u64::from(limits.table_elements) {
        return Err(AdmissionError::TableLimit {
            needs: summary.table_elements,
            limit: limits.table_elements,
        });
    }
    Ok(AdmittedModel { artifact, summary, limits })
}

/// Why a module is not admitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// Another file altogether.
    #[error(
        "not a WebAssembly module: it starts with {head:02x?}, a module starts with [00, 61, 73, 6d]; \
         pass the .wasm file that `dunlin compile` made"
    )]
    NotWasm {
        /// Its first bytes, at most 4.
        head: Vec<u8>,
    },
    /// A component.
    #[error("a WebAssembly component, not a core module: build for wasm32-unknown-unknown")]
    Component,
    /// More than the fixed bounds allow.
    #[error("{actual} {what}{place}, the most is {most}: make the module smaller")]
    Bound {
        /// What there is too much of, with its unit.
        what: &'static str,
        /// The bound.
        most: u64,
        /// How much there is.
        actual: u64,
        /// Where, as ` in function 7 ("name")`; empty for the whole file.
        place: String,
    },
    /// Damaged, or with features that are off.
    #[error("damaged, or made for features that are not admitted: {message}{place}, at byte {offset}")]
    Invalid {
        /// What wasmparser says.
        message: String,
        /// The position in the file, in bytes.
        offset: usize,
        /// Where, as ` in function 7 ("name")`; empty outside of functions.
        place: String,
    },
    /// A start section.
    #[error("code would start on its own{place}: export it as `_initialize` or `dunlin_init` instead")]
    Start {
        /// Which function, as ` in function 7 ("name")`.
        place: String,
    },
    /// No card, or several.
    #[error(
        "{0} `dunlin.card` sections, a model has exactly 1: `dunlin compile` and the guest SDK write it, \
         `dunlin card set` puts it into a module of another toolchain"
    )]
    CardCount(usize),
    /// A card that does not parse.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Another card than the release's.
    #[error("the card's sha256 is {actual}, the release names {expected}: release this module anew")]
    CardDigest {
        /// What the release names.
        expected: Digest,
        /// What the module has.
        actual: Digest,
    },
    /// The card claims a lower SIMD level than the code needs.
    #[error("the card claims simd {claims:?}, but the code needs {needs:?}{place}: correct the card")]
    CardSimd {
        /// The card's level.
        claims: &'static str,
        /// The code's level.
        needs: &'static str,
        /// The first function that needs it; empty for a global or a type.
        place: String,
    },
    /// Stack and arena of the card do not fit the memory.
    #[error(
        "the card's stack_bytes and arena_bytes are {card_bytes} together, but memory starts with \
         {memory_bytes} bytes: correct the card, or give the memory more pages"
    )]
    CardMemory {
        /// Stack and arena, in bytes.
        card_bytes: u64,
        /// The memory's first size, in bytes.
        memory_bytes: u64,
    },
    /// An import that no host has.
    #[error(
        "it imports {name} from {module}; a host offers \"log\", \"metric\" and \"clock\" from \"dunlin\", \
         and no WASI: {hint}"
    )]
    ImportForeign {
        /// The import's module, quoted.
        module: String,
        /// The import's name, quoted.
        name: String,
        /// Where such an import comes from, and what to do.
        hint: &'static str,
    },
    /// An import of another type.
    #[error("it imports {name:?} as {got}, the host has {wanted}: build against the guest SDK")]
    ImportType {
        /// The import.
        name: &'static str,
        /// The host's type.
        wanted: String,
        /// The module's type.
        got: String,
    },
    /// An import that the release does not grant.
    #[error(
        "it imports {:?}, which is not granted here: a release grants what its module imports, and a site takes \
         that back with `site.denied_imports` of its agent.toml; let the site allow it, or build without it",
        .0.name()
    )]
    ImportNotGranted(Import),
    /// An export that is not there.
    #[error("it does not export {name:?}, which {does} ({reason}): export it as {wanted}{hint}")]
    ExportMissing {
        /// The export.
        name: &'static str,
        /// What it is for.
        does: &'static str,
        /// Its type.
        wanted: String,
        /// Why it must be there.
        reason: &'static str,
        /// Why it may be missing, from what is there; often empty.
        hint: &'static str,
    },
    /// An export of another type.
    #[error("it exports {name:?} as {got}, it must be {wanted}")]
    ExportType {
        /// The export.
        name: &'static str,
        /// The type of the ABI.
        wanted: String,
        /// The module's type.
        got: String,
    },
    /// Not one plain memory.
    #[error("a model has one 32-bit memory of its own: {0}")]
    Memory(String),
    /// More memory than allowed.
    #[error(
        "memory starts with {needs} bytes, the limit is {limit}: raise the limit, or make the model smaller"
    )]
    MemoryLimit {
        /// The first size, in bytes.
        needs: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A greater table than allowed.
    #[error("the table has {needs} elements, the limit is {limit}: raise the limit")]
    TableLimit {
        /// The first size, in elements.
        needs: u64,
        /// The limit, in elements.
        limit: u32,
    },
    /// A limit that no engine grants.
    #[error("the limits ask for {limit} bytes of stack, the most is {MAX_STACK_BYTES}: lower stack_bytes")]
    StackLimit {
        /// What the limits ask for, in bytes.
        limit: u32,
    },
}

impl Coded for AdmissionError {
    fn code(&self) -> Code {
        match self {
            AdmissionError::NotWasm { .. } => code::module::NOT_WASM,
            AdmissionError::Component => code::module::COMPONENT,
            AdmissionError::Bound { .. } => code::module::BOUND,
            AdmissionError::Invalid { .. } => code::module::INVALID,
            AdmissionError::Start { .. } => code::module::START,
            AdmissionError::CardCount(_) => code::module::CARD_COUNT,
            AdmissionError::Card(_) => code::module::CARD_INVALID,
            AdmissionError::CardDigest { .. } => code::module::CARD_DIGEST,
            AdmissionError::CardSimd { .. } | AdmissionError::CardMemory { .. } => code::module::CARD_CODE,
            AdmissionError::ImportForeign { .. } => code::module::IMPORT_FOREIGN,
            AdmissionError::ImportType { .. } => code::module::IMPORT_TYPE,
            AdmissionError::ImportNotGranted(_) => code::module::IMPORT_NOT_GRANTED,
            AdmissionError::ExportMissing { .. } => code::module::EXPORT_MISSING,
            AdmissionError::ExportType { .. } => code::module::EXPORT_TYPE,
            AdmissionError::Memory(_) => code::module::MEMORY,
            AdmissionError::MemoryLimit { .. }
            | AdmissionError::TableLimit { .. }
            | AdmissionError::StackLimit { .. } => code::module::LIMIT,
        }
    }
}
