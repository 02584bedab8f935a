//! A proof for one plan: no step reads what another step has overwritten.
//!
//! The checker walks the steps in order and keeps for every word of memory what was written there last: a
//! part of a value, a border, or nothing that anyone may read. For each step it demands:
//!
//! - every element of an operand that it reads holds a value that the node reads, or the border round it;
//! - the border round an operand is filled, with the number that the kernel expects, and no element of it
//!   is an element of the operand or lies in memory twice;
//! - what it writes overlaps no operand, unless the kernel reads that operand only where it writes.
//!
//! In the end every output must hold its value. It works on addresses, so it covers the plan of the arena
//! too. It knows which words are read, not in which order: that is for tests that run the module.

use std::collections::{HashMap, HashSet};

use super::place::{Base, Made, Place, Plan, Step};
use crate::error::CompileError;
use crate::graph::{Graph, Op, ValueId};
use crate::kernel::{Halo, Layout, Region};
use crate::memory::Memory;

/// Larger memories are not checked: the checker needs twelve bytes for each word.
const MAX_WORDS: usize = 1 << 26;
/// Elements that all steps together may read: steps of larger models are checked as far as this goes, so that a
/// debug build compiles them in time.
const MAX_READS: u64 = 1 << 26;

/// What a word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Value(ValueId),
    Border(u32),
}

/// Checks the plan of a graph with its addresses.
pub(crate) fn check(graph: &Graph, plan: &Plan, memory: &Memory) -> Result<(), CompileError> {
    let (first, end) = memory.written();
    let words = usize::try_from(end.saturating_sub(first).div_ceil(4)).unwrap_or(usize::MAX);
    if words > MAX_WORDS {
        return Ok(());
    }
    let mut checker = Checker {
        memory,
        first: i64::from(first) / 4,
        held: vec![Held::Nothing; words],
        written: vec![0; words],
        parts: parts(graph),
    };
    for (value, buffer) in graph.inputs.iter().zip(&plan.inputs) {
        checker.buffer(plan, *buffer, Held::Value(*value));
    }
    let mut reads = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        reads += elements(step);
        if reads > MAX_READS {
            return Ok(());
        }
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        checker.step(plan, step, number).map_err(|what| {
            let names: Vec<&str> = step
                .origins
                .iter()
                .filter_map(|origin| Some(graph.origins.get(*origin)?.name.as_str()))
                .collect();
            let (title, names) = (step.kernel.title(), names.join(", "));
            CompileError::Fault(format!("step {index}, {title} of {names}: {what}"))
        })?;
    }
    for (output, buffer) in graph.outputs.iter().zip(&plan.outputs) {
        let address = memory.buffer(*buffer).first;
        let words = plan.buffers[*buffer].bytes.div_ceil(4);
        let allowed = checker.holding(&[output.value]);
        let mut words = (0..words).map(|word| i64::from(address) / 4 + word as i64);
        if !words.all(|word| checker.at(word).is_some_and(|held| allowed.contains(&held))) {
            let name = &output.name;
            return Err(CompileError::Fault(format!(
                "the output {name:?} does not hold its value in the end"
            )));
        }
    }
    Ok(())
}

/// The elements that a step reads and writes.
fn elements(step: &Step) -> u64 {
    let read =
        step.operands.iter().enumerate().filter(|(_, operand)| matches!(operand.base, Base::Buffer(_)));
    let read = read.flat_map(|(index, place)| step.kernel.reads(index, &place.layout, &step.y.layout));
    let regions = read.chain(step.kernel.writes(&step.y.layout));
    regions.fold(0, |sum, region| region.layout.elements().saturating_add(sum))
}

/// The values whose words a view or a concatenation consists of.
fn parts(graph: &Graph) -> HashMap<ValueId, Vec<ValueId>> {
    let mut parts: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    for node in graph.nodes.iter().filter(|node| matches!(node.op, Op::Rearrange(_) | Op::Concat { .. })) {
        let mut all = vec![node.output];
        for input in &node.inputs {
            all.extend(parts.get(input).cloned().unwrap_or_else(|| vec![*input]));
        }
        parts.insert(node.output, all);
    }
    parts
}

struct Checker<'a> {
    memory: &'a Memory,
    /// The first word that is written, counted from the start of the memory.
    first: i64,
    held: Vec<Held>,
    /// The last step that has written a word, from 1 on.
    written: Vec<u32>,
    parts: HashMap<ValueId, Vec<ValueId>>,
}

impl Checker<'_> {
    fn index(&self, word: i64) -> Option<usize> {
        usize::try_from(word - self.first).ok().filter(|index| *index < self.held.len())
    }

    fn at(&self, word: i64) -> Option<Held> {
        self.index(word).map(|index| self.held[index])
    }

    fn buffer(&mut self, plan: &Plan, buffer: usize, held: Held) {
        let address = i64::from(self.memory.buffer(buffer).first) / 4;
        for word in 0..plan.buffers[buffer].bytes.div_ceil(4) as i64 {
            if let Some(index) = self.index(address + word) {
                self.held[index] = held;
            }
        }
    }

    /// What the words of these values may hold.
    fn holding(&self, values: &[ValueId]) -> Vec<Held> {
        let own = |value: &ValueId| self.parts.get(value).cloned().unwrap_or_else(|| vec![*value]);
        values.iter().flat_map(own).map(Held::Value).collect()
    }

    /// The words of regions of a place, each as often as an element is in it.
    fn words<'a>(&self, place: &'a Place, regions: &'a [Region]) -> impl Iterator<Item = i64> + use<'a> {
        let address = i64::from(self.memory.address(place).first.cast_signed());
        let bytes = i64::from(place.bytes);
        let address = if address < 0 { address + (1 << 32) } else { address };
        regions.iter().flat_map(move |region| {
            let start = address + region.first * bytes;
            region.layout.places().flat_map(move |element| {
                let from = start + element * bytes;
                from.div_euclid(4)..=(from + bytes - 1).div_euclid(4)
            })
        })
    }

    fn step(&mut self, plan: &Plan, step: &Step, number: u32) -> Result<(), String> {
        // Some steps of a convolution, for places that see no tap, do not read its operand.
        let read = |place: &Place| step.operands.iter().any(|operand| operand.base == place.base);
        for (place, halo) in step.borders.iter().filter(|(place, _)| read(place)) {
            self.border(place, halo)?;
        }
        let y_regions = step.kernel.writes(&step.y.layout);
        let y_words: Vec<usize> = self
            .words(&step.y, &y_regions)
            .map(|word| {
                self.index(word).ok_or_else(|| format!("it writes word {word}, outside of all buffers"))
            })
            .collect::<Result<_, _>>()?;
        y_words.iter().for_each(|word| self.written[*word] = number);
        let mut allowed = self.holding(&step.reads);
        allowed.extend(step.borders.iter().map(|(_, halo)| Held::Border(halo.value)));
        for (index, operand) in step.operands.iter().enumerate() {
            let Base::Buffer(_) = operand.base else { continue };
            let regions = step.kernel.reads(index, &operand.layout, &step.y.layout);
            // Read and written in the same order, element by element.
            let together = step.kernel.in_place(index)
                && operand.bytes == step.y.bytes
                && self.words(operand, &regions).eq(self.words(&step.y, &y_regions));
            for word in self.words(operand, &regions) {
                let held =
                    self.at(word).ok_or_else(|| format!("it reads word {word}, outside of all buffers"))?;
                if !allowed.contains(&held) {
                    return Err(format!("operand {index} holds {held:?} where one of {allowed:?} is read"));
                }
                if !together && self.index(word).is_some_and(|word| self.written[word] == number) {
                    return Err(format!("its result lies over operand {index}, which it still reads"));
                }
            }
        }
        if let Some(scratch) = step.scratch {
            self.buffer(plan, scratch, Held::Nothing);
        }
        let held = match step.made {
            Made::Value(value) => Held::Value(value),
            Made::Border(bits) => Held::Border(bits),
        };
        y_words.iter().for_each(|word| self.held[*word] = held);
        Ok(())
    }

    /// Every element of a border is filled, and is an element of nothing else.
    fn border(&self, place: &Place, halo: &Halo) -> Result<(), String> {
        let axes = place.layout.extents.iter().zip(&halo.sides);
        let extents = axes.map(|(extent, (before, after))| extent + before + after).collect();
        let outer = Layout { extents, strides: place.layout.strides.clone() };
        let sides = halo.sides.iter().zip(&place.layout.strides);
        let first: i64 = sides.map(|((before, _), stride)| -i64::from(*before) * stride).sum();
        let (whole, inside) = ([Region { first, layout: outer }], Region::whole(&place.layout));
        let inner: HashSet<i64> = self.words(place, &inside).collect();
        let mut outside = HashSet::new();
        let mut within = 0;
        for word in self.words(place, &whole) {
            if inner.contains(&word) {
                within += 1;
            } else if !outside.insert(word) {
                return Err("two elements of its operand's border are one".to_string());
            } else if self.at(word) != Some(Held::Border(halo.value)) {
                return Err(format!("its operand's border holds {:?}", self.at(word)));
            }
        }
        if within != self.words(place, &inside).count() {
            return Err("its operand's border lies over the operand".to_string());
        }
        Ok(())
    }
}
