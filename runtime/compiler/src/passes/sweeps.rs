//! Reductions of a tensor and the element-wise nodes that use them become one kernel: the layer
//! normalisation, softmax or norm that an exporter has taken apart. And an element-wise node behind such
//! a kernel becomes part of its map.
//!
//! From an element-wise node backwards, everything that depends on reductions of one tensor x along the
//! same axes is put together: reductions become folds, element-wise nodes between them are computed on
//! the way, and what does not depend on x is an extra operand of the map. Nothing in between may be read
//! by anything else.

use std::collections::HashMap;
use std::rc::Rc;

use super::chain::{merged, only_reader};
use super::{Exhausted, Fuel, rewrite};
use crate::emit::sweep::{Fold, Sweep};
use crate::graph::{Graph, Node, Op, Rearrange, ValueId};
use crate::program::{Inst, Program};

/// The longest program, and the most operands of a kernel.
const MAX_INSTS: usize = 48;
const MAX_OPERANDS: usize = 8;
/// The most nodes that one kernel is put together from.
const MAX_NODES: usize = 24;
/// Operands of programs under construction: results of folds from here on, extras from there on.
const RESULTS: usize = 1 << 16;
const EXTRAS: usize = 1 << 17;

pub(super) fn assemble(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    let mut assembled = 0;
    for index in (0..graph.nodes.len()).rev() {
        if index < graph.nodes.len()
            && let Some(node) = whole(graph, index)
        {
            graph.nodes[index] = node;
            super::dead::remove(graph);
            assembled += 1;
        }
    }
    Ok(assembled)
}

/// Moves element-wise nodes into the kernel before them. Every change removes a node.
pub(super) fn extend(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    rewrite(graph, fuel, |graph, index| {
        let (producer, node) = extended(graph, index)?;
        graph.nodes[index] = node;
        graph.nodes.remove(producer);
        Some(index)
    })
}

fn sweep(node: &Node) -> Option<&Sweep> {
    match &node.op {
        Op::Kernel(kernel) => kernel.as_sweep(),
        Op::Pointwise(_) | Op::MatMul(_) | Op::Conv(_) | Op::Rearrange(_) => None,
        Op::Concat { .. } | Op::Pad { .. } => None,
    }
}

fn extended(graph: &Graph, index: usize) -> Option<(usize, Node)> {
    let node = &graph.nodes[index];
    let Op::Pointwise(outer) = &node.op else { return None };
    node.inputs.iter().find_map(|input| {
        let producer = graph.nodes[..index].iter().rposition(|other| other.output == *input)?;
        let source = &graph.nodes[producer];
        let sweep = sweep(source)?;
        let alike = graph.extents(*input) == graph.extents(node.output);
        if !alike || !only_reader(graph, *input, index) {
            return None;
        }
        // Results of folds have no values: the operands of the map are x, then stand-ins for them.
        let map = sweep.map.as_ref()?;
        let (x, extras) = source.inputs.split_first()?;
        let results: Vec<ValueId> = (0..sweep.folds.len()).map(|fold| ValueId(usize::MAX - fold)).collect();
        let own = [&[ValueId(usize::MAX - sweep.folds.len())], results.as_slice(), extras].concat();
        let (program, operands) = merged(outer, &node.inputs, map, &own, *input);
        let inputs = [&[*x], operands.get(own.len() - extras.len()..)?].concat();
        if program.insts().len() > MAX_INSTS || inputs.len() > MAX_OPERANDS {
            return None;
        }
        let op = Op::Kernel(Rc::new(Sweep { map: Some(program), probability: false, ..sweep.clone() }));
        let origins = [source.origins.as_slice(), &node.origins].concat();
        Some((producer, Node { op, inputs, output: node.output, origins }))
    })
}

/// The kernel that computes what node `index` does, from the tensor that is reduced.
fn whole(graph: &Graph, index: usize) -> Option<Node> {
    let node = &graph.nodes[index];
    if !matches!(node.op, Op::Pointwise(_)) {
        return None;
    }
    let makers: HashMap<ValueId, usize> =
        graph.nodes[..index].iter().enumerate().map(|(maker, node)| (node.output, maker)).collect();
    // The first reduction on the way says what is reduced, and along which axes.
    let mut first: Option<usize> = None;
    let mut seen: Vec<ValueId> = Vec::new();
    let mut open: Vec<ValueId> = node.inputs.clone();
    while let Some(value) = open.pop() {
        let Some(maker) = makers.get(&value).copied().filter(|_| !seen.contains(&value)) else { continue };
        seen.push(value);
        let source = &graph.nodes[maker];
        if seen.len() > MAX_NODES {
            return None;
        }
        match (&source.op, sweep(source)) {
            (Op::Pointwise(_) | Op::Rearrange(Rearrange::Expand | Rearrange::Reshape), _) => {
                open.extend(&source.inputs);
            }
            (_, Some(sweep)) if sweep.map.is_none() && sweep.extents == graph.extents(node.output) => {
                first = Some(first.map_or(maker, |first| first.min(maker)));
                open.extend(&source.inputs);
            }
            _ => {}
        }
    }
    let first = first?;
    let reduced = *graph.nodes[first].inputs.first()?;
    let swept = &sweep(&graph.nodes[first])?.swept;
    // What the reduced tensor is computed from may serve as well: x, where squares of x are reduced.
    let mut bases = match makers.get(&reduced).map(|maker| &graph.nodes[*maker]) {
        Some(Node { op: Op::Pointwise(_), inputs, .. }) => inputs.clone(),
        Some(_) | None => Vec::new(),
    };
    bases.push(reduced);
    bases.into_iter().find_map(|base| {
        if graph.extents(base) != graph.extents(node.output) {
            return None;
        }
        let mut assembly = Assembly {
            graph,
            makers: &makers,
            base,
            swept,
            folds: Vec::new(),
            extras: Vec::new(),
            known: HashMap::new(),
            inside: vec![index],
        };
        let map = assembly.computed(index)?;
        assembly.finish(map)
    })
}

/// A kernel while it is put together.
struct Assembly<'a> {
    graph: &'a Graph,
    makers: &'a HashMap<ValueId, usize>,
    base: ValueId,
    swept: &'a [bool],
    folds: Vec<Fold>,
    extras: Vec<ValueId>,
    /// What is computed of the base so far.
    known: HashMap<ValueId, Program>,
    /// The nodes that go into the kernel.
    inside: Vec<usize>,
}

fn operand(place: usize) -> Program {
    Program::identity().with_operands(|_| place)
}

impl Assembly<'_> {
    /// Whether a value depends on the base.
    fn depends(&self, value: ValueId, depth: usize) -> bool {
        if value == self.base {
            return true;
        }
        let Some(maker) = self.makers.get(&value).filter(|_| depth < MAX_NODES) else { return false };
        let node = &self.graph.nodes[*maker];
        let passes = match &node.op {
            Op::Pointwise(_) | Op::Rearrange(Rearrange::Expand | Rearrange::Reshape) => true,
            Op::Kernel(_) => sweep(node).is_some_and(|sweep| sweep.map.is_none()),
            Op::MatMul(_) | Op::Conv(_) | Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. } => false,
        };
        passes && node.inputs.iter().any(|input| self.depends(*input, depth + 1))
    }

    /// A value as a function of the base, results and extras.
    fn value(&mut self, value: ValueId) -> Option<Program> {
        if value == self.base {
            return Some(operand(0));
        }
        if let Some(known) = self.known.get(&value) {
            return Some(known.clone());
        }
        let program = if self.depends(value, 0) {
            let maker = *self.makers.get(&value)?;
            if !self.inside.contains(&maker) {
                self.inside.push(maker);
            }
            if self.inside.len() > MAX_NODES {
                return None;
            }
            self.computed(maker)?
        } else {
            self.extras.push(value);
            operand(EXTRAS + self.extras.len() - 1)
        };
        self.known.insert(value, program.clone());
        Some(program)
    }

    /// What a node computes.
    fn computed(&mut self, index: usize) -> Option<Program> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let program = match (&node.op, sweep(node)) {
            (Op::Pointwise(program), _) => {
                let operands: Option<Vec<Program>> =
                    node.inputs.iter().map(|input| self.value(*input)).collect();
                program.compose(&operands?)
            }
            (Op::Rearrange(rearrange), _) => {
                let source = self.unviewed(*node.inputs.first()?, rearrange, node.output)?;
                self.value(source)?
            }
            (_, Some(sweep)) if sweep.map.is_none() && sweep.swept == self.swept => {
                let of = self.value(*node.inputs.first()?)?;
                let before = self.folds.len();
                let result = |place: usize| {
                    if place == 0 { of.clone() } else { operand(RESULTS + before + place - 1) }
                };
                for fold in &sweep.folds {
                    let count = self.folds.len() - before + 1;
                    let operands: Vec<Program> = (0..count).map(result).collect();
                    let of = fold.of.compose(&operands);
                    let then = fold
                        .then
                        .with_operands(|place| if place == 0 { 0 } else { RESULTS + before + place - 1 });
                    self.folds.push(Fold { of, then, ..fold.clone() });
                }
                operand(RESULTS + self.folds.len() - 1)
            }
            _ => return None,
        };
        (program.insts().len() <= MAX_INSTS).then_some(program)
    }

    /// What a view is of, if it only repeats along the swept axes, or takes them out and puts them in.
    fn unviewed(&mut self, source: ValueId, rearrange: &Rearrange, view: ValueId) -> Option<ValueId> {
        let (from, to) = (self.graph.extents(source), self.graph.extents(view));
        match rearrange {
            Rearrange::Expand => (from.len() == to.len()).then_some(source),
            Rearrange::Reshape if from == to => Some(source),
            Rearrange::Reshape => {
                let maker = *self.makers.get(&source)?;
                let inner = &self.graph.nodes[maker];
                let origin = *inner.inputs.first()?;
                let back =
                    matches!(inner.op, Op::Rearrange(Rearrange::Reshape)) && self.graph.extents(origin) == to;
                self.inside.push(maker);
                back.then_some(origin)
            }
            Rearrange::Transpose(_) | Rearrange::Slice(_) => None,
        }
    }

    /// The kernel, with operands in their places.
    fn finish(mut self, map: Program) -> Option<Node> {
        let graph = self.graph;
        // Nobody else may read what is not computed any more.
        for inside in self.inside.iter().filter(|inside| **inside != self.inside[0]) {
            let value = graph.nodes[*inside].output;
            let read = |(reader, node): (usize, &Node)| {
                node.inputs.contains(&value) && !self.inside.contains(&reader)
            };
            if graph.nodes.iter().enumerate().any(read)
                || graph.outputs.iter().any(|output| output.value == value)
            {
                return None;
            }
        }
        let folds = self.folds.len();
        let place = |place: usize| match place {
            extra if extra >= EXTRAS => 1 + folds + extra - EXTRAS,
            result if result >= RESULTS => 1 + result - RESULTS,
            own => own,
        };
        for fold in &mut self.folds {
            let uses_extras = |program: &Program| program.arity() > EXTRAS;
            if uses_extras(&fold.of) || uses_extras(&fold.then) {
                return None;
            }
            (fold.of, fold.then) = (fold.of.with_operands(place), fold.then.with_operands(place));
        }
        let mut map = map.with_operands(place);
        keep_exponentials(&mut self.folds, &mut map);
        let node = &graph.nodes[self.inside[0]];
        let inputs = [&[self.base], self.extras.as_slice()].concat();
        if folds == 0 || inputs.len() > MAX_OPERANDS {
            return None;
        }
        let mut origins: Vec<usize> =
            self.inside.iter().flat_map(|inside| graph.nodes[*inside].origins.clone()).collect();
        origins.sort_unstable();
        origins.dedup();
        let extents = graph.extents(self.base).to_vec();
        let sweep = Sweep {
            name: "normalisation",
            extents,
            swept: self.swept.to_vec(),
            folds: self.folds,
            map: Some(map),
            probability: false,
        };
        Some(Node { op: Op::Kernel(Rc::new(sweep)), inputs, output: node.output, origins })
    }
}

/// Where the map computes again what the last fold has, and nothing else of x, the fold keeps it: the
/// exponentials of a softmax.
fn keep_exponentials(folds: &mut [Fold], map: &mut Program) {
    let Some(fold) = folds.last_mut().filter(|fold| fold.of.insts().len() > 2) else { return };
    let again = (0..map.insts().len()).find(|reg| map.ending_at(*reg) == fold.of);
    let Some(reg) = again else { return };
    // A place that is not taken, to see whether x is still read.
    let apart = map.replaced(reg, EXTRAS);
    if !apart.insts().contains(&Inst::Operand(0)) {
        *map = apart.with_operands(|place| if place == EXTRAS { 0 } else { place });
        fold.keep = true;
    }
}
