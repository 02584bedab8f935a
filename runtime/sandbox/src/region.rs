//! Where tensors lie in guest memory.
//!
//! A pointer is a guest's word, so it is checked once, when it is fetched: aligned, inside memory,
//! and over no other tensor. Memory never shrinks, so what was inside stays inside; every access
//! checks its bounds all the same.

use core::ops::Range;

use dunlin_abi::{Card, TENSOR_ALIGN, TensorSpec};

use crate::call::CallError;

/// One tensor's place: room for `max_batch` samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// The address of the first byte.
    pub(crate) start: usize,
    /// Bytes of one sample, at most.
    pub(crate) sample_bytes: usize,
    /// Bytes of all samples.
    pub(crate) bytes: usize,
}

impl Region {
    /// The room of a tensor of this card, at the address that the guest gave. `kind` is `input` or
    /// `output`.
    pub(crate) fn new(
        card: &Card,
        kind: &str,
        tensor: &TensorSpec,
        address: u32,
        memory_bytes: usize,
    ) -> Result<Region, CallError> {
        let bad = |what| CallError::Pointer { tensor: named(kind, tensor), address, memory_bytes, what };
        // Of a toolchain that has a stack, nothing else lies at 0: this is its null pointer.
        if address == 0 && card.stack_bytes > 0 {
            return Err(bad("is no address: the card has more tensors than the model gave addresses for"));
        }
        if !address.is_multiple_of(TENSOR_ALIGN) {
            return Err(bad("is not 16-byte aligned"));
        }
        // The card's check has made sure that these products fit 32 bits.
        let sample_bytes = tensor.sample_bytes().ok_or_else(|| bad("has too large a tensor"))?;
        let samples = if tensor.is_batched() { card.max_batch } else { 1 };
        let bytes = sample_bytes.checked_mul(samples).ok_or_else(|| bad("has too large a tensor"))?;
        let [start, sample_bytes, bytes] = [address, sample_bytes, bytes].map(|n| n as usize);
        match start.checked_add(bytes) {
            Some(end) if end <= memory_bytes => Ok(Region { start, sample_bytes, bytes }),
            Some(_) | None => Err(bad("leads outside of memory")),
        }
    }

    /// The first `bytes` bytes of it.
    pub(crate) fn first(&self, bytes: usize) -> Range<usize> {
        self.start..self.start.saturating_add(bytes.min(self.bytes))
    }
}

/// Refuses tensors that share a byte.
pub(crate) fn check_disjoint<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a TensorSpec, &'a Region)>,
) -> Result<(), CallError> {
    let mut sorted: Vec<_> = tensors.into_iter().collect();
    sorted.sort_by_key(|(.., region)| region.start);
    for pair in sorted.windows(2) {
        if let [(kind, tensor, region), (next_kind, next_tensor, next_region)] = pair
            && region.start + region.bytes > next_region.start
        {
            let (first, second) = (named(kind, tensor), named(next_kind, next_tensor));
            let (bytes, apart) = (region.bytes, next_region.start - region.start);
            return Err(CallError::Overlap { bytes, apart, first, second });
        }
    }
    Ok(())
}

fn named(kind: &str, tensor: &TensorSpec) -> String {
    format!("{kind} {:?}", tensor.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(start: usize, bytes: usize) -> Region {
        Region { start, sample_bytes: bytes, bytes }
    }

    proptest! {
        #[test]
        fn disjoint_means_that_no_byte_is_shared(
            places in prop::collection::vec((0usize..64, 1usize..24), 1..6)
        ) {
            let regions: Vec<Region> = places.iter().map(|&(start, bytes)| region(start, bytes)).collect();
            let mut owners = [0u32; 96];
            for &(start, bytes) in &places {
                owners[start..start + bytes].iter_mut().for_each(|count| *count += 1);
            }
            let shared = owners.iter().any(|count| *count > 1);
            let tensor = TensorSpec::new("t", dunlin_abi::DType::U8, []);
            let found = check_disjoint(regions.iter().map(|region| ("input", &tensor, region)));
            prop_assert_eq!(found.is_err(), shared);
        }
    }

    #[test]
    fn the_first_bytes_never_reach_beyond_the_region() {
        assert_eq!(region(16, 32).first(8), 16..24);
        assert_eq!(region(16, 32).first(1000), 16..48);
    }
}
