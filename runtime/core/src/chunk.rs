//! Chunks: how a blob is cut into the messages that carry it, and how the pieces are listed.
//!
//! Cuts are of one size and start anew at each *restart*, the ends of a module's large data segments:
//! new code over old weights moves no cut of the weights, so only what changed is sent. A chunk is
//! named by the sha256 of its bytes. The same bytes, restarts and size give the same chunks everywhere.
//!
//! A list of chunks that is too long for a release is a blob of one chunk: per chunk 32 bytes of digest
//! and 4 of little-endian length, nothing else.

use alloc::vec::Vec;
use core::ops::Range;

use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::document::{Blob, ChunkRef, Chunks, MAX_INLINE_CHUNKS};

/// The length of a chunk unless the operator chose another, in bytes.
pub const DEFAULT_CHUNK_BYTES: usize = 32 * 1024;

/// The longest chunk, in bytes: with its topic it stays under the 128 KiB of AWS IoT Core.
pub const MAX_CHUNK_BYTES: usize = 120 * 1024;

/// Bytes of one chunk in a list.
pub const ENTRY_BYTES: usize = 36;

/// Cuts `bytes` into ranges of `chunk_bytes` (brought into 1 to [`MAX_CHUNK_BYTES`]), in order and without
/// gaps; a cut is made at every restart, and counting starts anew there. Restarts may come in any order;
/// those that are not inside of `bytes` say nothing.
pub fn cut(bytes: &[u8], restarts: &[usize], chunk_bytes: usize) -> Vec<Range<usize>> {
    let chunk_bytes = chunk_bytes.clamp(1, MAX_CHUNK_BYTES);
    let mut ends: Vec<usize> = restarts.iter().copied().filter(|at| (1..bytes.len()).contains(at)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in ends {
        while start < end {
            let next = end.min(start + chunk_bytes);
            ranges.push(start..next);
            start = next;
        }
    }
    ranges
}

/// The digest and the length of each range. A range that reaches out of `bytes`, which [`cut`] never
/// makes, is left out.
pub fn refs(bytes: &[u8], ranges: &[Range<usize>]) -> Vec<ChunkRef> {
    let piece = |range: &Range<usize>| {
        let piece = bytes.get(range.clone())?;
        Some(ChunkRef { digest: Digest::of(piece), size_bytes: u32::try_from(piece.len()).ok()? })
    };
    ranges.iter().filter_map(piece).collect()
}

/// Where each chunk of a list lies in its blob: the counterpart of [`refs`].
pub fn ranges(chunks: &[ChunkRef]) -> Vec<Range<u64>> {
    let mut start = 0u64;
    let place = |chunk: &ChunkRef| {
        let range = start..start.saturating_add(u64::from(chunk.size_bytes));
        start = range.end;
        range
    };
    chunks.iter().map(place).collect()
}

/// The bytes of a list of chunks.
pub fn encode_list(chunks: &[ChunkRef]) -> Vec<u8> {
    let mut list = Vec::with_capacity(chunks.len() * ENTRY_BYTES);
    for chunk in chunks {
        list.extend_from_slice(chunk.digest.as_bytes());
        list.extend_from_slice(&chunk.size_bytes.to_le_bytes());
    }
    list
}

/// Reads a list of chunks whose blob has `size_bytes` bytes.
///
/// # Errors
/// The list is empty, too long or not whole, or its chunks are not those of a blob of that size.
pub fn decode_list(list: &[u8], size_bytes: u64) -> Result<Vec<ChunkRef>, ChunkListError> {
    let chunks = entries(list)?;
    check(&chunks, size_bytes)?;
    Ok(chunks)
}

/// Reads a list of chunks whose blob has as many bytes as they have together.
///
/// # Errors
/// As [`decode_list`], but for the sum.
pub fn decode_whole_list(list: &[u8]) -> Result<Vec<ChunkRef>, ChunkListError> {
    let chunks = entries(list)?;
    check(&chunks, chunks.iter().map(|chunk| u64::from(chunk.size_bytes)).sum())?;
    Ok(chunks)
}

fn entries(list: &[u8]) -> Result<Vec<ChunkRef>, ChunkListError> {
    let (entries, rest) = list.as_chunks::<ENTRY_BYTES>();
    if entries.is_empty() || !rest.is_empty() || list.len() > MAX_CHUNK_BYTES {
        return Err(ChunkListError::Length(list.len()));
    }
    let mut chunks = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some((digest, size)) = entry.split_first_chunk::<32>() else {
            return Err(ChunkListError::Length(list.len()));
        };
        let Ok(size) = <[u8; 4]>::try_from(size) else {
            return Err(ChunkListError::Length(list.len()));
        };
        chunks.push(ChunkRef { digest: Digest::from_bytes(*digest), size_bytes: u32::from_le_bytes(size) });
    }
    Ok(chunks)
}

/// Checks that chunks are those of a blob of `size_bytes`: each 1 to [`MAX_CHUNK_BYTES`] long, no digest
/// with two lengths, and the sum of their lengths the blob's.
///
/// # Errors
/// The first of these rules that is broken.
pub fn check(chunks: &[ChunkRef], size_bytes: u64) -> Result<(), ChunkListError> {
    for (index, chunk) in chunks.iter().enumerate() {
        if !(1..=MAX_CHUNK_BYTES as u64).contains(&u64::from(chunk.size_bytes)) {
            return Err(ChunkListError::Chunk { index, size_bytes: chunk.size_bytes });
        }
    }
    let mut sorted: Vec<(Digest, u32)> =
        chunks.iter().map(|chunk| (chunk.digest, chunk.size_bytes)).collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1) {
        return Err(ChunkListError::TwoLengths(pair[0].0));
    }
    let sum = chunks.iter().map(|chunk| u64::from(chunk.size_bytes)).sum();
    if sum == size_bytes { Ok(()) } else { Err(ChunkListError::Sum { expected: size_bytes, actual: sum }) }
}

/// Describes a blob for a release: the second value is the list of its chunks, to be published as a chunk
/// like the others, where they are more than [`MAX_INLINE_CHUNKS`].
///
/// # Errors
/// The blob is empty, or has more chunks than one list holds.
pub fn describe(
    bytes: &[u8],
    restarts: &[usize],
    chunk_bytes: usize,
) -> Result<(Blob, Option<Vec<u8>>), DescribeError> {
    if bytes.is_empty() {
        return Err(DescribeError::Empty);
    }
    let refs = refs(bytes, &cut(bytes, restarts, chunk_bytes));
    let (digest, size_bytes) = (Digest::of(bytes), bytes.len() as u64);
    if refs.len() <= MAX_INLINE_CHUNKS {
        return Ok((Blob { digest, size_bytes, chunks: Chunks::Inline(refs) }, None));
    }
    let list = encode_list(&refs);
    match u32::try_from(list.len()) {
        Ok(length) if list.len() <= MAX_CHUNK_BYTES => {
            let chunks = Chunks::List(ChunkRef { digest: Digest::of(&list), size_bytes: length });
            Ok((Blob { digest, size_bytes, chunks }, Some(list)))
        }
        _ => Err(DescribeError::TooManyChunks(refs.len())),
    }
}

/// Chunks that do not make up their blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkListError {
    /// Empty, longer than a chunk, or cut off.
    #[error(
        "a chunk list has {0} bytes, not a multiple of {ENTRY_BYTES} from {ENTRY_BYTES} to {MAX_CHUNK_BYTES}"
    )]
    Length(usize),
    /// A chunk is empty or too long.
    #[error("chunk {index} has {size_bytes} bytes, it must have 1 to {MAX_CHUNK_BYTES}")]
    Chunk {
        /// Its place in the list.
        index: usize,
        /// Its length.
        size_bytes: u32,
    },
    /// One digest stands there with two lengths, which no bytes can have.
    #[error("chunk {0} is listed with two lengths")]
    TwoLengths(Digest),
    /// The lengths are not those of the blob.
    #[error("the chunks have {actual} bytes in sum, the blob has {expected}")]
    Sum {
        /// The length of the blob.
        expected: u64,
        /// The sum of the chunks.
        actual: u64,
    },
}

impl Coded for ChunkListError {
    fn code(&self) -> Code {
        code::transfer::CHUNK_LIST
    }
}

/// A blob that cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// Nothing to carry.
    #[error("the file is empty")]
    Empty,
    /// More chunks than one list holds.
    #[error("the file has {0} chunks, one list holds {most}; use larger chunks", most = MAX_CHUNK_BYTES / ENTRY_BYTES)]
    TooManyChunks(usize),
}

impl Coded for DescribeError {
    fn code(&self) -> Code {
        code::transfer::BLOB_UNCUTTABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use proptest::prelude::*;

    fn noise(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8 ^ seed).collect()
    }

    proptest! {
        #[test]
        fn the_chunks_are_the_blob_and_every_restart_is_a_cut(
            length in 0usize..5000, restarts in prop::collection::vec(0usize..6000, 0..6), size in 0usize..700
        ) {
            let bytes = noise(length, 0);
            let ranges = cut(&bytes, &restarts, size);
            let mut next = 0;
            for range in &ranges {
                prop_assert_eq!(range.start, next);
                prop_assert!((1..=size.max(1)).contains(&range.len()));
                next = range.end;
            }
            prop_assert_eq!(next, length);
            for restart in restarts.into_iter().filter(|at| (1..length).contains(at)) {
                prop_assert!(ranges.iter().any(|range| range.start == restart));
            }
        }

        #[test]
        fn a_new_segment_leaves_the_chunks_of_the_others(
            old in 1usize..3000, new in 1usize..3000, size in 1usize..500
        ) {
            let weights = noise(4000, 7);
            let chunks = |code: usize, seed: u8| {
                let mut bytes = noise(code, seed);
                bytes.extend_from_slice(&weights);
                refs(&bytes, &cut(&bytes, &[code], size))
            };
            let known: BTreeSet<Digest> = chunks(old, 1).into_iter().map(|chunk| chunk.digest).collect();
            let kept = chunks(new, 2).iter().rev().take_while(|chunk| known.contains(&chunk.digest)).count();
            prop_assert!(kept >= weights.len().div_ceil(size));
        }

        #[test]
        fn a_list_is_what_was_listed(sizes in prop::collection::vec(1u32..=120 * 1024, 1..40)) {
            let listed = |(i, size): (usize, u32)| ChunkRef { digest: Digest::of(&[i as u8]), size_bytes: size };
            let chunks: Vec<ChunkRef> = sizes.iter().copied().enumerate().map(listed).collect();
            let sum = sizes.iter().map(|size| u64::from(*size)).sum();
            let list = encode_list(&chunks);
            prop_assert_eq!(decode_list(&list, sum), Ok(chunks));
            prop_assert!(decode_list(&list, sum + 1).is_err());
            prop_assert!(decode_list(&list[1..], sum).is_err());
        }

        #[test]
        fn any_bytes_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>()) {
            if let Ok(chunks) = decode_list(&bytes, size) {
                prop_assert_eq!(encode_list(&chunks), bytes);
            }
        }
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
        let chunk = |size_bytes| ChunkRef { digest: Digest::of(b"a"), size_bytes };
        assert_eq!(check(&[chunk(1), chunk(2)], 3), Err(ChunkListError::TwoLengths(Digest::of(b"a"))));
        assert_eq!(check(&[chunk(0)], 0), Err(ChunkListError::Chunk { index: 0, size_bytes: 0 }));
        assert_eq!(check(&[chunk(122_881)], 122_881).map_err(|e| e.code()), Err(code::transfer::CHUNK_LIST));
        assert_eq!(check(&[chunk(2), chunk(2)], 4), Ok(()));
        assert_eq!(decode_list(&[], 0), Err(ChunkListError::Length(0)));
    }

    #[test]
    fn long_lists_are_a_blob_of_their_own() {
        let bytes = noise(65 * 100, 3);
        let (blob, list) = describe(&bytes[..6400], &[], 100).unwrap();
        assert!(matches!(blob.chunks, Chunks::Inline(ref chunks) if chunks.len() == 64) && list.is_none());
        let (blob, list) = describe(&bytes, &[], 100).unwrap();
        let list = list.unwrap();
        assert_eq!(blob.chunks, Chunks::List(ChunkRef { digest: Digest::of(&list), size_bytes: 65 * 36 }));
        assert_eq!(decode_list(&list, blob.size_bytes), Ok(refs(&bytes, &cut(&bytes, &[], 100))));
        assert_eq!(ranges(&decode_list(&list, 6500).unwrap())[64], 6400..6500);
        assert_eq!(describe(&[], &[], 100), Err(DescribeError::Empty));
        assert_eq!(describe(&vec![0; 4000], &[], 1), Err(DescribeError::TooManyChunks(4000)));
    }
}
