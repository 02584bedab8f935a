//! The release: one version of one model, with everything that a device needs to judge and run it.

use alloc::string::String;
use alloc::vec::Vec;
use dunlin_abi::{Card, DType, Dim, Import, MAX_TENSORS, Simd};
use serde::{Deserialize, Serialize};

use super::{Document, DocumentError, MAX_TEXT_BYTES, RoleName, ensure, is_text, unique};
use crate::digest::Digest;
use crate::id::{FleetId, ModelName};

/// The most chunks that a release lists itself; longer lists are a blob of their own.
pub const MAX_INLINE_CHUNKS: usize = 64;

/// The most attachments of a release.
const MAX_ATTACHMENTS: usize = 16;

/// The longest deadline of one call, in microseconds: 60 s.
const MAX_DEADLINE_US: u64 = 60_000_000;

/// One chunk of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRef {
    /// The sha256 of the chunk; its topic.
    pub digest: Digest,
    /// Its length in bytes, at least 1.
    pub size_bytes: u32,
}

/// Where the chunks of a blob are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Chunks {
    /// Here, in order.
    Inline(Vec<ChunkRef>),
    /// In a blob of one chunk: per chunk 32 bytes of digest and 4 of little-endian length.
    List(ChunkRef),
}

/// A file that travels as chunks: the artifact, or an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The sha256 of the whole.
    pub digest: Digest,
    /// The length of the whole, in bytes.
    pub size_bytes: u64,
    /// Its pieces.
    pub chunks: Chunks,
}

impl Blob {
    fn check(&self, what: &str) -> Result<(), DocumentError> {
        ensure!(Release, self.size_bytes >= 1, "{what} is empty");
        match &self.chunks {
            Chunks::Inline(chunks) => {
                let (count, most) = (chunks.len(), MAX_INLINE_CHUNKS);
                ensure!(Release, count <= most, "{what} lists {count} chunks, the most is {most}");
                ensure!(
                    Release,
                    chunks.iter().all(|chunk| chunk.size_bytes >= 1),
                    "{what} has an empty chunk"
                );
                let sum: u64 = chunks.iter().map(|chunk| u64::from(chunk.size_bytes)).sum();
                let size = self.size_bytes;
                ensure!(Release, sum == size, "the chunks of {what} have {sum} bytes in sum, not {size}");
            }
            Chunks::List(list) => {
                ensure!(
                    Release,
                    list.size_bytes >= 36 && list.size_bytes % 36 == 0,
                    "the chunk list of {what} has {} bytes, not a multiple of 36",
                    list.size_bytes
                );
            }
        }
        Ok(())
    }
}

/// What a device must offer to run the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat {
    /// The version of the guest ABI.
    pub abi: u32,
    /// The oldest runtime, as a semantic version.
    pub min_runtime: semver::Version,
    /// The SIMD instructions that the code uses.
    pub simd: Simd,
}

/// What the model may use at most; the device's own policy may set less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// Entries of its table.
    pub table_elements: u32,
    /// Stack in bytes, of WebAssembly frames.
    pub stack_bytes: u32,
    /// Time of one call, in microseconds.
    pub deadline_us: u64,
    /// Log lines a second.
    pub log_lines_per_s: u32,
    /// Metric values a second.
    pub metrics_per_s: u32,
}

/// What one tensor must be: the card's words, made binding by the signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorContract {
    /// The tensor's name in the card.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<Dim>,
    /// Values outside are refused (inputs) or make the inference invalid (outputs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Whether NaN and infinities are refused likewise.
    pub finite: bool,
}

/// What goes in and comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Inputs, in the card's order.
    pub inputs: Vec<TensorContract>,
    /// Outputs, in the card's order.
    pub outputs: Vec<TensorContract>,
}

impl Contract {
    /// The contract that a card implies: its names, types, shapes and ranges; all values finite.
    pub fn of_card(card: &Card) -> Contract {
        let of = |tensors: &[dunlin_abi::TensorSpec]| {
            tensors
                .iter()
                .map(|tensor| TensorContract {
                    name: tensor.name.clone(),
                    dtype: tensor.dtype,
                    shape: tensor.shape.clone(),
                    range: tensor.range,
                    finite: true,
                })
                .collect()
        };
        Contract { inputs: of(&card.inputs), outputs: of(&card.outputs) }
    }

    /// The first tensor in which the card differs in name, type or shape, if any.
    pub fn difference(&self, card: &Card) -> Option<String> {
        for (kind, contract, tensors) in
            [("input", &self.inputs, &card.inputs), ("output", &self.outputs, &card.outputs)]
        {
            if contract.len() != tensors.len() {
                let (signed, found) = (contract.len(), tensors.len());
                return Some(alloc::format!("{signed} {kind}s are signed, the card has {found}"));
            }
            for (signed, tensor) in contract.iter().zip(tensors) {
                if (&signed.name, signed.dtype, &signed.shape) != (&tensor.name, tensor.dtype, &tensor.shape)
                {
                    return Some(alloc::format!(
                        "{kind} {:?} is signed otherwise than the card says",
                        signed.name
                    ));
                }
            }
        }
        None
    }

    fn check(&self) -> Result<(), DocumentError> {
        for (kind, tensors) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            let count = tensors.len();
            ensure!(Release, (1..=MAX_TENSORS).contains(&count), "the contract has {count} {kind}");
            ensure!(
                Release,
                unique(tensors, |tensor| &tensor.name),
                "two {kind} of the contract share a name"
            );
            for tensor in tensors {
                let spec = dunlin_abi::TensorSpec {
                    range: tensor.range,
                    ..dunlin_abi::TensorSpec::new(tensor.name.clone(), tensor.dtype, tensor.shape.clone())
                };
                if let Err(error) = spec.check() {
                    ensure!(Release, false, "{error}");
                }
            }
        }
        Ok(())
    }
}

/// What an attachment is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttachmentKind {
    /// Inputs with the outputs that the model must give on the device before it may serve.
    Golden,
    /// Counts of the training data, which drift is measured against.
    Baseline,
    /// Words for people; devices do not fetch it.
    ModelCard,
    /// An in-toto statement about the artifact, whose digest the lineage names; devices do not fetch it.
    Provenance,
    /// Native code; devices fetch it only where they opted in to the precompiled role.
    Precompiled {
        /// The target triple.
        target: String,
        /// The exact version of wasmtime that it was made by.
        wasmtime: String,
    },
}

/// A file beside the artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is for.
    pub kind: AttachmentKind,
    /// The file.
    pub blob: Blob,
}

/// When a new release counts as proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probation {
    /// It must have served this many inferences without fault.
    pub min_inferences: u32,
    /// Or have been ready for this long, in seconds, with no fault among fewer inferences.
    pub duration_s: u32,
    /// As soon as this many inferences failed by its own fault, the device returns to the release before.
    pub max_failures: u32,
}

/// Where a release comes from. For people and audits; digests are checked for their form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The training run that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_run: Option<String>,
    /// The digest of the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<Digest>,
    /// The commit of the training code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The release that it was made from, by the digest of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The licence of the weights, as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The digest of an in-toto statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance_digest: Option<Digest>,
}

/// One version of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The version of the format.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// Must be at least the root's.
    pub release_epoch: u64,
    /// The model.
    pub model: ModelName,
    /// Grows with every release of the model; devices compare it with floors.
    pub counter: u64,
    /// What people call it; decides nothing.
    pub version: String,
    /// When it was signed, in seconds since 1970.
    pub issued_unix_s: u64,
    /// The module.
    pub artifact: Blob,
    /// The sha256 of the module's card section.
    pub card_digest: Digest,
    /// What a device must offer.
    pub compat: Compat,
    /// What the model may use.
    pub limits: Limits,
    /// The host functions that it may import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What goes in and comes out.
    pub contract: Contract,
    /// Files beside the artifact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// When it counts as proven.
    pub probation: Probation,
    /// Where it comes from.
    #[serde(default)]
    pub lineage: Lineage,
}

impl Release {
    /// The first attachment of a plain kind.
    pub fn attachment(&self, kind: &AttachmentKind) -> Option<&Blob> {
        self.attachments.iter().find(|attachment| attachment.kind == *kind).map(|attachment| &attachment.blob)
    }

    /// Its precompiled variants: target, version of wasmtime, file.
    pub fn variants(&self) -> impl Iterator<Item = (&str, &str, &Blob)> {
        self.attachments.iter().filter_map(|Attachment { kind, blob }| match kind {
            AttachmentKind::Precompiled { target, wasmtime } => {
                Some((target.as_str(), wasmtime.as_str(), blob))
            }
            AttachmentKind::Golden
            | AttachmentKind::Baseline
            | AttachmentKind::ModelCard
            | AttachmentKind::Provenance => None,
        })
    }
}

impl Document for Release {
    const PAYLOAD_TYPE: &'static str = "application/vnd.dunlin.release+json";
    const KIND: &'static str = "release";
    const ROLE: RoleName = RoleName::Release;

    fn schema(&self) -> u32 {
        self.schema
    }

    fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    fn second_role(&self) -> Option<RoleName> {
        self.variants().next().map(|_| RoleName::Precompiled)
    }

    fn check(&self) -> Result<(), DocumentError> {
        ensure!(Release, self.counter >= 1, "counters start at 1");
        ensure!(Release, is_text(&self.version), "the version must be 1 to {MAX_TEXT_BYTES} printable bytes");
        self.artifact.check("the artifact")?;
        let Limits { memory_bytes, stack_bytes, deadline_us, .. } = self.limits;
        ensure!(
            Release,
            memory_bytes >= 1 << 16,
            "memory_bytes is {memory_bytes}, less than one page of 65536"
        );
        ensure!(Release, memory_bytes <= 1 << 32, "memory_bytes is {memory_bytes}, more than 32-bit memory");
        ensure!(Release, stack_bytes >= 4096, "stack_bytes is {stack_bytes}, less than 4096");
        ensure!(
            Release,
            (1..=MAX_DEADLINE_US).contains(&deadline_us),
            "deadline_us is {deadline_us}, not 1 to {MAX_DEADLINE_US}"
        );
        ensure!(Release, unique(&self.imports, |import| *import), "an import is granted twice");
        self.contract.check()?;
        let count = self.attachments.len();
        ensure!(
            Release,
            count <= MAX_ATTACHMENTS,
            "it has {count} attachments, the most is {MAX_ATTACHMENTS}"
        );
        for (index, attachment) in self.attachments.iter().enumerate() {
            let earlier = &self.attachments[..index];
            let kind = &attachment.kind;
            ensure!(
                Release,
                earlier.iter().all(|other| other.kind != *kind),
                "it has two attachments {kind:?}"
            );
            attachment.blob.check("an attachment")?;
            if let AttachmentKind::Precompiled { target, wasmtime } = kind {
                ensure!(Release, is_text(target) && is_text(wasmtime), "a precompiled variant has no target");
            }
        }
        if let Some(statement) = self.attachment(&AttachmentKind::Provenance) {
            ensure!(
                Release,
                self.lineage.provenance_digest == Some(statement.digest),
                "the lineage names another provenance than the attachment"
            );
        }
        ensure!(Release, self.probation.max_failures >= 1, "max_failures must be at least 1");
        let lineage = &self.lineage;
        for text in [&lineage.training_run, &lineage.commit, &lineage.licence].into_iter().flatten() {
            ensure!(
                Release,
                is_text(text),
                "a text of the lineage is not 1 to {MAX_TEXT_BYTES} printable bytes"
            );
        }
        Ok(())
    }
}
