//! The map of the module's memory.
//!
//! ```text
//! 0      1024            weights              64 KiB page            end, a page boundary
//! | free | small tensors | tensors >= 32 KiB |~~| inputs | outputs | arena |~~|
//! ```
//! Weights are contiguous and share no page with anything that is written. Every tensor starts at a
//! multiple of 16 bytes. Inputs and outputs have `max_batch` samples one behind the other; the arena
//! holds the intermediates of one sample. Weights with the same words are there once.

use std::collections::HashMap;

use crate::arena::{self, ALIGN_BYTES, Buffer};
use crate::error::CompileError;
use crate::half;
use crate::layout::{Base, Kind, Place, Plan, Weight};
use crate::report::WeightFormat;

/// The first address that is used: a null pointer of a guest's or ours points at nothing.
pub(crate) const FIRST_ADDRESS: u64 = 1024;
/// A page of WebAssembly.
pub(crate) const PAGE_BYTES: u64 = 65536;
/// Weights of this size or more have a data segment of their own.
pub(crate) const OWN_SEGMENT_BYTES: usize = 32 * 1024;
/// The largest memory: 4 GiB less one page, so that every address and size fits 32 bits.
const MAX_MEMORY_BYTES: u64 = (1 << 32) - PAGE_BYTES;

/// Where something begins, for each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The first sample's.
    pub(crate) first: u32,
    /// Bytes from one sample to the next; 0 where all share it.
    pub(crate) stride_bytes: u32,
}

/// A data segment.
pub(crate) struct Segment {
    /// Its address.
    pub(crate) address: u32,
    /// What it holds.
    pub(crate) bytes: Vec<u8>,
}

/// Weights that lie in memory as halves and are widened when an instance starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widening {
    /// Where the numbers begin; the halves lie in the second half of their room.
    pub(crate) address: u32,
    /// How many there are, a multiple of 4.
    pub(crate) count: u32,
}

/// The whole map.
pub(crate) struct Memory {
    /// Where the inputs begin, from which on memory is written.
    start: u32,
    /// Where the intermediates begin and end.
    arena: (u32, u32),
    buffers: Vec<Address>,
    weights: Vec<u32>,
    /// The weights, in order of address.
    pub(crate) segments: Vec<Segment>,
    /// Weights that must be widened first.
    pub(crate) widenings: Vec<Widening>,
    /// Elements of all weights, without padding.
    pub(crate) parameters: u64,
    /// Bytes of inputs, outputs and intermediates.
    pub(crate) arena_bytes: u32,
    /// The size of the memory.
    pub(crate) pages: u64,
}

impl Memory {
    /// Plans the memory for `max_batch` samples.
    pub(crate) fn plan(plan: &Plan, max_batch: u32, format: WeightFormat) -> Result<Memory, CompileError> {
        let weights = Weighing::collect(plan, format)?;
        let start = if weights.segments.is_empty() {
            FIRST_ADDRESS
        } else {
            weights.end.next_multiple_of(PAGE_BYTES)
        };
        let (buffers, first, end) = buffers(plan, max_batch, start)?;
        let arena_bytes = u32::try_from(end - start).map_err(|_| too_large(end))?;
        Ok(Memory {
            start: u32::try_from(start).map_err(|_| too_large(start))?,
            arena: (first, u32::try_from(end).map_err(|_| too_large(end))?),
            buffers,
            weights: weights.addresses,
            segments: weights.segments,
            widenings: weights.widenings,
            parameters: weights.parameters,
            arena_bytes,
            pages: end.div_ceil(PAGE_BYTES),
        })
    }

    /// The first byte that is written, and the end of what is.
    pub(crate) fn written(&self) -> (u32, u32) {
        (self.start, self.start.saturating_add(self.arena_bytes))
    }

    /// The parts of the arena, with their words, that hold nothing which a step or a later one reads: what
    /// lies there may be overwritten before the step.
    pub(crate) fn unread(&self, plan: &Plan, step: usize) -> Vec<(u32, u32)> {
        let (lifetimes, indices) = lifetimes(plan);
        let alive = lifetimes.iter().zip(indices).filter(|(life, _)| life.first < step && step <= life.last);
        let mut taken: Vec<(u32, u32)> = alive
            .map(|(life, buffer)| {
                let first = self.buffers[buffer].first;
                (first, first.saturating_add(u32::try_from(life.bytes).unwrap_or(u32::MAX)))
            })
            .collect();
        taken.sort_unstable();
        taken.push((self.arena.1, self.arena.1));
        let mut from = self.arena.0;
        let mut unread = Vec::new();
        for (first, end) in taken {
            if first > from {
                unread.push((from, (first - from) / 4));
            }
            from = from.max(end.next_multiple_of(4));
        }
        unread
    }

    /// Where a buffer begins.
    pub(crate) fn buffer(&self, buffer: usize) -> Address {
        self.buffers[buffer]
    }

    /// Where the first element of a place lies.
    pub(crate) fn address(&self, place: &Place) -> Address {
        let base = match place.base {
            Base::Buffer(buffer) => self.buffers[buffer],
            Base::Weight(weight) => Address { first: self.weights[weight], stride_bytes: 0 },
        };
        // A kernel may be given an address before its buffer, if it never reads there.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let first = base.first.wrapping_add((place.first * i64::from(place.bytes)) as u32);
        Address { first, ..base }
    }
}

fn too_large(bytes: u64) -> CompileError {
    CompileError::Memory { bytes, limit: MAX_MEMORY_BYTES }
}

/// The weights while they are laid out.
struct Weighing {
    addresses: Vec<u32>,
    segments: Vec<Segment>,
    widenings: Vec<Widening>,
    parameters: u64,
    end: u64,
}

impl Weighing {
    fn collect(plan: &Plan, format: WeightFormat) -> Result<Weighing, CompileError> {
        let mut weighing = Weighing {
            addresses: vec![0; plan.weights.len()],
            segments: Vec::new(),
            widenings: Vec::new(),
            parameters: 0,
            end: FIRST_ADDRESS,
        };
        let mut first: HashMap<(&[u32], bool), usize> = HashMap::new();
        let mut same = Vec::with_capacity(plan.weights.len());
        for (index, weight) in plan.weights.iter().enumerate() {
            let original = *first.entry((&weight.words, weight.floats)).or_insert(index);
            same.push(original);
            weighing.parameters += if original == index { weight.parameters } else { 0 };
        }
        let is_large = |index: usize| plan.weights[index].words.len() * 4 >= OWN_SEGMENT_BYTES;
        let mut small: Option<Segment> = None;
        for index in (0..same.len()).filter(|index| same[*index] == *index && !is_large(*index)) {
            let bytes: Vec<u8> =
                plan.weights[index].words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let address = take(&mut weighing.end, bytes.len() as u64)?;
            weighing.addresses[index] = address;
            let segment = small.get_or_insert(Segment { address, bytes: Vec::new() });
            segment.bytes.resize((address - segment.address) as usize, 0);
            segment.bytes.extend_from_slice(&bytes);
        }
        weighing.segments.extend(small);
        for index in (0..same.len()).filter(|index| same[*index] == *index && is_large(*index)) {
            weighing.large(index, &plan.weights[index], format)?;
        }
        for (index, original) in same.iter().enumerate() {
            weighing.addresses[index] = weighing.addresses[*original];
        }
        Ok(weighing)
    }

    /// A tensor with a segment of its own.
    fn large(&mut self, index: usize, weight: &Weight, format: WeightFormat) -> Result<(), CompileError> {
        let words = &weight.words;
        let count = words.len().next_multiple_of(4);
        let halves = match format {
            WeightFormat::F32 => None,
            WeightFormat::F16 if weight.floats => half::narrowed(words),
            // Integers are no numbers to halve.
            WeightFormat::F16 => None,
        };
        let address = take(&mut self.end, count as u64 * 4)?;
        self.addresses[index] = address;
        let narrow = halves.and_then(|halves| Some((halves, u32::try_from(count).ok()?)));
        self.segments.push(match narrow {
            Some((mut halves, count)) => {
                halves.resize(count as usize, 0);
                self.widenings.push(Widening { address, count });
                let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
                Segment { address: address + count * 2, bytes }
            }
            None => Segment { address, bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect() },
        });
        Ok(())
    }
}

/// The next aligned address, after which `bytes` are taken.
fn take(end: &mut u64, bytes: u64) -> Result<u32, CompileError> {
    let address = end.next_multiple_of(ALIGN_BYTES);
    *end = address.saturating_add(bytes);
    match u32::try_from(address) {
        Ok(address) if *end <= MAX_MEMORY_BYTES => Ok(address),
        _ => Err(too_large(*end)),
    }
}

/// Where the buffers begin, where the first intermediate does, and the end of the last.
fn buffers(plan: &Plan, max_batch: u32, start: u64) -> Result<(Vec<Address>, u32, u64), CompileError> {
    let mut end = start;
    let mut addresses = vec![Address { first: 0, stride_bytes: 0 }; plan.buffers.len()];
    for (buffer, address) in plan.buffers.iter().zip(&mut addresses) {
        let Kind::Tensor { batched } = buffer.kind else { continue };
        let sample = buffer.bytes;
        let samples = if batched { max_batch } else { 1 };
        address.first = take(&mut end, sample.saturating_mul(samples.into()))?;
        let stride_bytes = u32::try_from(sample).map_err(|_| too_large(sample))?;
        address.stride_bytes = if samples > 1 { stride_bytes } else { 0 };
    }
    let (lifetimes, indices) = lifetimes(plan);
    let arena = arena::plan(&lifetimes);
    let first = take(&mut end, arena.bytes)?;
    let base = u64::from(first);
    for (offset, buffer) in arena.offsets.iter().zip(indices) {
        addresses[buffer].first = u32::try_from(base + offset).map_err(|_| too_large(end))?;
    }
    Ok((addresses, first, end))
}

/// From the first step to the last that touches each intermediate, with its number.
fn lifetimes(plan: &Plan) -> (Vec<Buffer>, Vec<usize>) {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        let places = step.operands.iter().chain([&step.y]);
        let touched = places.filter_map(|place| match place.base {
            Base::Buffer(buffer) => Some(buffer),
            Base::Weight(_) => None,
        });
        for buffer in touched.chain(step.scratch) {
            let span = spans[buffer].get_or_insert((index, index));
            span.1 = index;
        }
    }
    let mut lifetimes = Vec::new();
    let mut indices = Vec::new();
    for (index, (buffer, span)) in plan.buffers.iter().zip(spans).enumerate() {
        if let (Kind::Arena, Some((first, last))) = (buffer.kind, span) {
            lifetimes.push(Buffer { bytes: buffer.bytes, first, last });
            indices.push(index);
        }
    }
    (lifetimes, indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighed(format: WeightFormat) -> Memory {
        let mut plan = Plan::default();
        for count in [12, 10_000, 12, 10_000] {
            let words = (0..count).map(|word| (word as f32).to_bits()).collect();
            plan.weights.push(Weight { words, floats: true, parameters: count });
        }
        let kind = Kind::Tensor { batched: true };
        plan.buffers.push(crate::layout::Buffer { bytes: 400, kind });
        plan.inputs.push(0);
        Memory::plan(&plan, 3, format).unwrap()
    }

    #[test]
    fn weights_share_no_page_with_what_is_written() {
        let memory = weighed(WeightFormat::F32);
        let end = memory.segments.iter().map(|s| u64::from(s.address) + s.bytes.len() as u64).max().unwrap();
        let input = memory.buffer(0);
        assert!(u64::from(input.first) / PAGE_BYTES > (end - 1) / PAGE_BYTES);
        assert_eq!((input.first % 16, input.stride_bytes, memory.arena_bytes), (0, 400, 1200));
    }

    #[test]
    fn large_tensors_have_segments_of_their_own_and_equal_ones_are_there_once() {
        let memory = weighed(WeightFormat::F32);
        let sizes: Vec<usize> = memory.segments.iter().map(|segment| segment.bytes.len()).collect();
        assert_eq!(sizes, [48, 40_000]);
        assert_eq!((memory.segments[0].address, memory.parameters), (1024, 10_012));
        assert_eq!(memory.weights[0], memory.weights[2]);
    }

    #[test]
    fn halves_lie_in_the_second_half_of_their_room() {
        let memory = weighed(WeightFormat::F16);
        let Widening { address, count } = memory.widenings[0];
        assert_eq!(
            (memory.segments[1].address, memory.segments[1].bytes.len()),
            (address + count * 2, 20_000)
        );
    }
}
