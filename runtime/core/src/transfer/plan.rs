//! What a blob still lacks: each missing chunk once, with every place that it belongs to.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Bitmap;
use crate::chunk;
use crate::digest::Digest;
use crate::document::ChunkRef;

/// Where a chunk belongs in its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) offset: u64,
}

/// A chunk that is not there yet.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) size_bytes: u32,
    /// The missing places; empty for a list of chunks, which is not stored in the blob.
    pub(super) places: Vec<Place>,
    /// How often it was asked for in vain.
    pub(super) attempts: u32,
}

impl Piece {
    /// A chunk that belongs to no place of the blob.
    pub(super) fn list(list: &ChunkRef) -> Piece {
        Piece { size_bytes: list.size_bytes, places: Vec::new(), attempts: 0 }
    }
}

/// The missing pieces, and their digests in the order of the blob.
pub(super) fn missing(chunks: &[ChunkRef], have: &Bitmap) -> (BTreeMap<Digest, Piece>, Vec<Digest>) {
    let mut pieces: BTreeMap<Digest, Piece> = BTreeMap::new();
    let mut order = Vec::new();
    for (index, (reference, range)) in chunks.iter().zip(chunk::ranges(chunks)).enumerate() {
        if have.get(index) {
            continue;
        }
        let piece = pieces.entry(reference.digest).or_insert_with(|| {
            order.push(reference.digest);
            Piece { size_bytes: reference.size_bytes, places: Vec::new(), attempts: 0 }
        });
        piece.places.push(Place { index, offset: range.start });
    }
    (pieces, order)
}
