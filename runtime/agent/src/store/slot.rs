//! One slot of the state, as bytes.
//!
//! ```text
//! 8   magic        "DUNLSLOT"
//! 4   format       u32, little-endian: 1
//! 8   generation   u64, little-endian: grows by one with every commit
//! 4   length       u32, little-endian: of the JSON
//! n   JSON         the state
//! 32  sha256       of everything before
//! ```
//! What is behind the digest belongs to an older state and means nothing. A slot of zeros has never
//! been written.

use dunlin_core::Digest;

/// The length of a slot on disk, in bytes.
pub(super) const SLOT_BYTES: usize = 16 * 1024;

/// The version of this format.
const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"DUNLSLOT";
const HEADER_BYTES: usize = 24;
const DIGEST_BYTES: usize = 32;

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Never written.
    Empty,
    /// A state.
    Valid {
        /// Its place in the order of commits.
        generation: u64,
        /// The state.
        json: Vec<u8>,
    },
    /// Written by a newer version, whose rules we do not know.
    Newer {
        /// Its format.
        format: u32,
    },
    /// Torn or damaged.
    Invalid,
}

/// The bytes of a slot; `None` if the JSON does not fit.
pub(super) fn encode(generation: u64, json: &[u8]) -> Option<Vec<u8>> {
    if json.len() > SLOT_BYTES - HEADER_BYTES - DIGEST_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + json.len() + DIGEST_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(json.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(json);
    let digest = Digest::of(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Some(bytes)
}

/// Reads a slot.
pub(super) fn decode(bytes: &[u8]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    parse(bytes).unwrap_or(Slot::Invalid)
}

fn parse(bytes: &[u8]) -> Option<Slot> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    if magic != MAGIC {
        return None;
    }
    let (format, rest) = rest.split_first_chunk::<4>()?;
    let format = u32::from_le_bytes(*format);
    if format > FORMAT {
        return Some(Slot::Newer { format });
    }
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let json = rest.get(..length)?;
    let digest = rest.get(length..)?.first_chunk::<DIGEST_BYTES>()?;
    let covered = bytes.get(..HEADER_BYTES + length)?;
    let good = format == FORMAT && Digest::of(covered).as_bytes() == digest;
    good.then(|| Slot::Valid { generation: u64::from_le_bytes(*generation), json: json.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_core::update::MAX_STATE_BYTES;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_is_what_was_written_whatever_lies_behind(
            generation in any::<u64>(), json in prop::collection::vec(any::<u8>(), 0..300), behind in any::<u8>()
        ) {
            let mut bytes = encode(generation, &json).unwrap();
            bytes.resize(SLOT_BYTES, behind);
            prop_assert_eq!(decode(&bytes), Slot::Valid { generation, json });
        }

        #[test]
        fn a_flipped_bit_is_never_a_state(
            json in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let mut bytes = encode(7, &json).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let refused = matches!(decode(&bytes), Slot::Invalid | Slot::Newer { format: _ });
            prop_assert!(refused);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let valid = matches!(decode(&bytes), Slot::Valid { generation: _, json: _ });
            prop_assert!(!valid);
        }
    }

    #[test]
    fn the_longest_state_fits() {
        assert!(encode(u64::MAX, &vec![b'x'; MAX_STATE_BYTES]).unwrap().len() <= SLOT_BYTES);
        assert_eq!(encode(0, &vec![b'x'; SLOT_BYTES]), None);
        assert_eq!(decode(&[0; SLOT_BYTES]), Slot::Empty);
    }
}
