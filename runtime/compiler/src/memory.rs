//! The map of the module's memory.
//!
//! ```text
//! 0      1024            weights              64 KiB page            end, a page boundary
//! | free | small tensors | tensors >= 32 KiB |~~| inputs | outputs | arena |~~|
//! ```
//! Weights are contiguous and share no page with anything that is written. Every tensor starts at a
//! multiple of 16 bytes. Inputs and outputs have `max_batch` samples one behind the other; the arena
//! holds the intermediates of one sample. An element-wise node writes over its operand where nothing
//! reads that operand any more.

use std::collections::HashMap;

use crate::arena::{self, ALIGN_BYTES, Buffer};
use crate::emit::dense;
use crate::error::CompileError;
use crate::graph::{Graph, Node, Op, ValueId, Weights};

/// The first address that is used: a null pointer of a guest's or ours points at nothing.
pub(crate) const FIRST_ADDRESS: u64 = 1024;
/// A page of WebAssembly.
pub(crate) const PAGE_BYTES: u64 = 65536;
/// Weights of this size or more have a data segment of their own.
pub(crate) const OWN_SEGMENT_BYTES: usize = 32 * 1024;
/// The largest memory: 4 GiB less one page, so that every address and size fits 32 bits.
const MAX_MEMORY_BYTES: u64 = (1 << 32) - PAGE_BYTES;

/// How a constant lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// Row-major.
    Raw,
    /// As the dense kernel streams it.
    Packed,
    /// A bias, with zeros up to whole vectors.
    Padded,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The same for every sample.
    Shared(u32),
    /// One region a sample: the first one's address, and bytes from one to the next.
    Samples {
        /// The first sample's address.
        address: u32,
        /// From one sample to the next.
        stride_bytes: u32,
    },
}

/// A data segment.
pub(crate) struct Segment {
    /// Its address.
    pub(crate) address: u32,
    /// What it holds.
    pub(crate) bytes: Vec<u8>,
}

/// The whole map.
pub(crate) struct Memory {
    places: HashMap<ValueId, Place>,
    constants: HashMap<(ValueId, Form), u32>,
    /// The weights, in order of address.
    pub(crate) segments: Vec<Segment>,
    /// Elements of all weights, without padding.
    pub(crate) parameters: u64,
    /// Bytes of inputs, outputs and intermediates.
    pub(crate) arena_bytes: u32,
    /// The size of the memory.
    pub(crate) pages: u64,
}

impl Memory {
    /// Plans the memory for `max_batch` samples and vectors of `lanes` numbers.
    pub(crate) fn plan(graph: &Graph, max_batch: u32, lanes: u32) -> Result<Memory, CompileError> {
        let weights = Weighing::collect(graph, lanes)?;
        let weights_end = weights.end;
        let start = if weights.segments.is_empty() {
            FIRST_ADDRESS
        } else {
            weights_end.next_multiple_of(PAGE_BYTES)
        };
        let (places, end) = mutable(graph, max_batch, start)?;
        let arena_bytes = u32::try_from(end - start).map_err(|_| too_large(end))?;
        Ok(Memory {
            places,
            constants: weights.constants,
            segments: weights.segments,
            parameters: weights.parameters,
            arena_bytes,
            pages: end.div_ceil(PAGE_BYTES),
        })
    }

    /// Where a value that the module writes, or the host, lies.
    pub(crate) fn place(&self, value: ValueId) -> Option<Place> {
        self.places.get(&value).copied()
    }

    /// Where the operand `index` of a node lies.
    pub(crate) fn operand(&self, graph: &Graph, node: &Node, index: usize) -> Option<Place> {
        let value = *node.inputs.get(index)?;
        if graph.constant(value).is_none() {
            return self.place(value);
        }
        self.constants.get(&(value, form(&node.op, index))).map(|address| Place::Shared(*address))
    }
}

fn too_large(bytes: u64) -> CompileError {
    CompileError::Memory { bytes, limit: MAX_MEMORY_BYTES }
}

fn form(op: &Op, operand: usize) -> Form {
    match (op, operand) {
        (Op::Dense(dense), 1) if dense.weights == Weights::Packed => Form::Packed,
        (Op::Dense(_), 2) => Form::Padded,
        (Op::Dense(_) | Op::Map { .. } | Op::Zip { .. } | Op::Softmax { .. } | Op::Alias, _) => Form::Raw,
    }
}

/// The weights while they are laid out.
struct Weighing {
    constants: HashMap<(ValueId, Form), u32>,
    segments: Vec<Segment>,
    parameters: u64,
    end: u64,
}

impl Weighing {
    fn collect(graph: &Graph, lanes: u32) -> Result<Weighing, CompileError> {
        let mut seen = HashMap::new();
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let mut parameters = 0;
        for node in &graph.nodes {
            for (index, value) in node.inputs.iter().enumerate() {
                let key = (*value, form(&node.op, index));
                let Some(numbers) = graph.constant(*value).and_then(|constant| constant.f32s()) else {
                    continue;
                };
                if seen.insert(key, ()).is_some() {
                    continue;
                }
                parameters += numbers.len() as u64;
                let bytes = bytes(&node.op, key.1, numbers, lanes);
                if bytes.len() >= OWN_SEGMENT_BYTES { &mut large } else { &mut small }.push((key, bytes));
            }
        }
        let mut weighing =
            Weighing { constants: HashMap::new(), segments: Vec::new(), parameters, end: FIRST_ADDRESS };
        weighing.place_small(small)?;
        for (key, bytes) in large {
            let address = weighing.take(bytes.len())?;
            weighing.constants.insert(key, address);
            weighing.segments.push(Segment { address, bytes });
        }
        Ok(weighing)
    }

    /// Puts all small tensors into one segment.
    fn place_small(&mut self, small: Vec<((ValueId, Form), Vec<u8>)>) -> Result<(), CompileError> {
        let mut segment: Option<Segment> = None;
        for (key, bytes) in small {
            let address = self.take(bytes.len())?;
            self.constants.insert(key, address);
            let segment = segment.get_or_insert(Segment { address, bytes: Vec::new() });
            segment.bytes.resize((address - segment.address) as usize, 0);
            segment.bytes.extend_from_slice(&bytes);
        }
        self.segments.extend(segment);
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<u32, CompileError> {
        take(&mut self.end, bytes as u64)
    }
}

/// The bytes of a constant in one form.
fn bytes(op: &Op, form: Form, numbers: &[f32], lanes: u32) -> Vec<u8> {
    let data = match (form, op) {
        (Form::Packed, Op::Dense(geometry)) => dense::pack(numbers, geometry.k, geometry.n, lanes),
        (Form::Padded, _) => {
            let mut padded = numbers.to_vec();
            padded.resize(numbers.len().next_multiple_of(lanes as usize), 0.0);
            padded
        }
        (Form::Raw | Form::Packed, _) => numbers.to_vec(),
    };
    data.iter().flat_map(|number| number.to_le_bytes()).collect()
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

/// The places of inputs, outputs and intermediates, and the end of the last.
fn mutable(
    graph: &Graph,
    max_batch: u32,
    start: u64,
) -> Result<(HashMap<ValueId, Place>, u64), CompileError> {
    let mut end = start;
    let mut places = HashMap::new();
    let outputs = graph.outputs.iter().map(|output| output.value);
    for value in graph.inputs.iter().copied().chain(outputs) {
        let sample = graph.value(value).shape.elements().saturating_mul(4);
        let samples = if graph.value(value).shape.batched { max_batch } else { 1 };
        let address = take(&mut end, sample.saturating_mul(samples.into()))?;
        let stride_bytes = u32::try_from(sample).map_err(|_| too_large(sample))?;
        let place =
            if samples > 1 { Place::Samples { address, stride_bytes } } else { Place::Shared(address) };
        places.insert(value, place);
    }
    let (buffers, buffer_of) = buffers(graph, &places);
    let plan = arena::plan(&buffers);
    let arena = u64::from(take(&mut end, plan.bytes)?);
    for (value, buffer) in buffer_of {
        let address = u32::try_from(arena + plan.offsets[buffer]).map_err(|_| too_large(end))?;
        places.insert(value, Place::Shared(address));
    }
    Ok((places, end))
}

/// The lifetimes of all intermediates; values that share memory share a buffer.
fn buffers(graph: &Graph, taken: &HashMap<ValueId, Place>) -> (Vec<Buffer>, Vec<(ValueId, usize)>) {
    let mut last_use = vec![0; graph.values.len()];
    for (step, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            last_use[input.0] = step;
        }
    }
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut buffer_of: Vec<(ValueId, usize)> = Vec::new();
    let mut by_value: HashMap<ValueId, usize> = HashMap::new();
    for (step, node) in graph.nodes.iter().enumerate() {
        if taken.contains_key(&node.output) {
            continue;
        }
        let last = last_use[node.output.0];
        let bytes = graph.value(node.output).shape.elements().saturating_mul(4);
        let reusable = over_operand(graph, node)
            .filter(|operand| last_use[operand.0] == step)
            .and_then(|operand| by_value.get(&operand).copied());
        let buffer = match reusable {
            Some(buffer) => {
                buffers[buffer].last = last;
                buffer
            }
            None => {
                buffers.push(Buffer { bytes, first: step, last });
                buffers.len() - 1
            }
        };
        by_value.insert(node.output, buffer);
        buffer_of.push((node.output, buffer));
    }
    (buffers, buffer_of)
}

/// The operand that an element-wise node may write over: it has as many elements as the result, and the
/// kernel reads each of them before it writes that place.
fn over_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
    match &node.op {
        Op::Map { .. } | Op::Zip { .. } | Op::Softmax { .. } => {
            let elements = graph.value(node.output).shape.elements();
            let same = |id: &&ValueId| {
                graph.constant(**id).is_none() && graph.value(**id).shape.elements() == elements
            };
            node.inputs.iter().find(same).copied()
        }
        Op::Dense(_) | Op::Alias => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constant::{Constant, ConstantData};
    use crate::graph::{Dense, Shape, Unary, Value};

    /// x -> Dense -> Dense -> y, with weights of 40 KiB and 4 KiB.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        let shape = |n| Shape { batched: true, sample: vec![n] };
        let value =
            Value { name: "x".into(), dtype: dunlin_abi::DType::F32, shape: shape(100), constant: None };
        let mut last = graph.add_value(value);
        graph.inputs.push(last);
        for (k, n) in [(100u32, 100u32), (100, 10)] {
            let data = ConstantData::F32(vec![0.0; (k * n) as usize]);
            let w = graph.add_constant("w", Constant { shape: vec![k, n], data });
            let weights = Weights::Packed;
            let dense = Dense { rows: 1, k, n, x_row: k, x_step: 1, weights, activation: Unary::Relu };
            last = graph.add_node("y", Op::Dense(dense), vec![last, w], shape(n));
        }
        graph.outputs.push(crate::graph::Output { name: "y".into(), shape: shape(10), value: last });
        graph
    }

    #[test]
    fn weights_share_no_page_with_what_is_written() {
        let memory = Memory::plan(&graph(), 3, 4).unwrap();
        let end = memory.segments.iter().map(|s| u64::from(s.address) + s.bytes.len() as u64).max().unwrap();
        let Some(Place::Samples { address, stride_bytes }) = memory.place(ValueId(0)) else { panic!() };
        assert!(u64::from(address) / PAGE_BYTES > (end - 1) / PAGE_BYTES);
        assert_eq!((address % 16, stride_bytes), (0, 400));
    }

    #[test]
    fn large_tensors_have_segments_of_their_own() {
        let memory = Memory::plan(&graph(), 1, 4).unwrap();
        let sizes: Vec<usize> = memory.segments.iter().map(|segment| segment.bytes.len()).collect();
        assert_eq!(sizes, [100 * 12 * 4, 100 * 100 * 4]);
        assert_eq!(memory.segments[0].address, 1024);
    }

    #[test]
    fn the_arena_holds_one_sample() {
        let memory = Memory::plan(&graph(), 3, 4).unwrap();
        assert_eq!(memory.arena_bytes, 3 * 400 + 3 * 40 + 8 + 400);
    }
}
