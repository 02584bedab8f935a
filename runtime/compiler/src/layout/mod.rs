//! Where every tensor lies, and which kernels run in which order: the graph becomes a [`Plan`].
//!
//! Nodes are taken in order. Each tensor gets a [`Place`]: a buffer, the distance of its first element
//! and a stride for each axis. What only renames elements (transposing, slicing, cutting) gets a place
//! and no step. The parts of a concatenation are written where they belong; a convolution's padding
//! is a border of its operand's buffer; an element-wise node writes over an operand that nobody needs any
//! more. Only where a kernel cannot read a tensor as it lies, a step moves it.
//!
//! - [`place`]: places, buffers, weights, steps.
//! - [`foresight`]: what is known before the first node: last uses, borders, parts of concatenations.
//! - [`allocate`]: where a result goes.
//! - [`contraction`], [`convolution`]: matrix products and convolutions as kernels.
//! - `check`: in debug builds, a proof for every plan that no step reads what another has overwritten.

mod allocate;
mod check;
mod contraction;
mod convolution;
mod foresight;
mod place;

use std::collections::HashMap;
use std::rc::Rc;

use dunlin_abi::{DType, Simd};

pub(crate) use check::check;
#[cfg(test)]
pub(crate) use place::Buffer;
pub(crate) use place::{Base, Kind, Made, Place, Plan, Step, Weight};

use crate::emit::fill::Fill;
use crate::emit::pointwise::Pointwise;
use crate::error::CompileError;
use crate::graph::{Graph, Node, Op, Rearrange, ValueId};
use crate::kernel::{Halo, Kernel, Layout, Want, device_bytes};
use crate::program::Program;
use allocate::Freedom;
use foresight::Foresight;

/// Plans the kernels and the places of a graph. Weights of the nodes in `blocks` lie in blocks of so many
/// columns where a kernel can read them so.
pub(crate) fn plan(graph: &Graph, simd: Simd, blocks: &HashMap<&str, u32>) -> Result<Plan, CompileError> {
    let mut planner = Planner {
        graph,
        simd,
        blocks,
        foresight: Foresight::of(graph),
        plan: Plan::default(),
        places: HashMap::new(),
        moved: HashMap::new(),
        raw: HashMap::new(),
        joined: HashMap::new(),
        buffer_last: Vec::new(),
        borders: Vec::new(),
        now: 0,
    };
    planner.tensors();
    for index in 0..graph.nodes.len() {
        planner.now = index;
        planner.borders.clear();
        planner.node(&graph.nodes[index])?;
    }
    planner.now = graph.nodes.len();
    planner.borders.clear();
    planner.outputs()?;
    Ok(planner.plan)
}

fn fault(what: &str) -> CompileError {
    CompileError::Fault(what.to_string())
}

struct Planner<'a> {
    graph: &'a Graph,
    simd: Simd,
    blocks: &'a HashMap<&'a str, u32>,
    foresight: Foresight,
    plan: Plan,
    places: HashMap<ValueId, Place>,
    /// Copies of values that lie otherwise, for further readers.
    moved: HashMap<(ValueId, Want, Option<Halo>), Place>,
    /// Weights that are there as they are.
    raw: HashMap<(ValueId, Vec<usize>), usize>,
    /// Where concatenations lie whose first part has been written.
    joined: HashMap<ValueId, Place>,
    /// The last node that reads anything in each buffer.
    buffer_last: Vec<usize>,
    /// The operands of the node that is being planned round which it reads a border.
    borders: Vec<(Place, Halo)>,
    /// The node that is being planned.
    now: usize,
}

impl Planner<'_> {
    /// Buffers for what the host writes and reads.
    fn tensors(&mut self) {
        for value in &self.graph.inputs {
            let buffer = self.tensor(*value);
            self.plan.inputs.push(buffer);
            self.places.insert(*value, self.whole_tensor(*value, buffer));
        }
        for output in &self.graph.outputs {
            let buffer = self.tensor(output.value);
            self.plan.outputs.push(buffer);
        }
    }

    fn tensor(&mut self, value: ValueId) -> usize {
        let value = self.graph.value(value);
        let kind = Kind::Tensor { batched: value.shape.is_batched() };
        self.add_buffer(value.shape.elements().saturating_mul(value.dtype.size().into()), kind, usize::MAX)
    }

    /// A tensor as the host writes and reads it.
    fn whole_tensor(&self, value: ValueId, buffer: usize) -> Place {
        let layout = Layout::row_major(self.graph.extents(value));
        let bytes = self.graph.value(value).dtype.size();
        Place { base: Base::Buffer(buffer), first: 0, layout, bytes, room: None }
    }

    /// Bytes of an element of a value while the model computes.
    fn bytes(&self, value: ValueId) -> u32 {
        device_bytes(self.graph.value(value).dtype)
    }

    fn add_buffer(&mut self, bytes: u64, kind: Kind, last: usize) -> usize {
        self.plan.buffers.push(place::Buffer { bytes, kind });
        self.buffer_last.push(last);
        self.plan.buffers.len() - 1
    }

    fn node(&mut self, node: &Node) -> Result<(), CompileError> {
        match &node.op {
            Op::Rearrange(rearrange) => self.rearrange(node, rearrange),
            Op::Pointwise(program) => self.pointwise(node, program),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Pad { before, value } => self.pad(node, before, *value),
            Op::MatMul(matmul) => contraction::matmul(self, node, matmul),
            Op::Conv(conv) => convolution::conv(self, node, conv),
            Op::Kernel(kernel) => self.kernel(node, kernel),
        }
    }

    fn rearrange(&mut self, node: &Node, rearrange: &Rearrange) -> Result<(), CompileError> {
        let input = *node.inputs.first().ok_or_else(|| fault("a view of nothing"))?;
        let extents = self.graph.extents(node.output).to_vec();
        let view = self.operand(input, Want::Any, None)?.rearranged(rearrange, &extents);
        let view = match view {
            Some(view) => Some(view),
            None => self.operand(input, Want::RowMajor, None)?.rearranged(rearrange, &extents),
        };
        let view = view.ok_or_else(|| fault("a row-major tensor has no view"))?;
        self.put(node.output, view);
        Ok(())
    }

    fn pointwise(&mut self, node: &Node, program: &Program) -> Result<(), CompileError> {
        let extents = self.graph.extents(node.output).to_vec();
        let operands: Vec<Place> = node
            .inputs
            .iter()
            .map(|id| Ok(self.operand(*id, Want::Any, None)?.broadcast(&extents)))
            .collect::<Result<_, CompileError>>()?;
        let computed = operands.iter().filter(|place| matches!(place.base, Base::Buffer(_)));
        let largest =
            computed.max_by_key(|place| place.layout.strides.iter().filter(|stride| **stride != 0).count());
        let order = largest.map_or_else(|| (0..extents.len()).collect(), |place| place.layout.order());
        let kernel = Rc::new(Pointwise { program: program.clone() });
        let overwritable: Vec<usize> = (0..operands.len()).collect();
        let y = self.allocate(node.output, &order, Freedom::Any, &operands, &overwritable);
        self.step(kernel, y, operands, node);
        Ok(())
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Result<(), CompileError> {
        let whole = match self.joined.get(&node.output) {
            Some(whole) => whole.clone(),
            None => {
                let first = *node.inputs.first().ok_or_else(|| fault("a concatenation of nothing"))?;
                let order = self.operand(first, Want::Any, None)?.layout.order();
                self.allocate(node.output, &order, Freedom::Any, &[], &[])
            }
        };
        let mut start = 0;
        for part in &node.inputs {
            let extents = self.graph.extents(*part).to_vec();
            let there = whole.part(axis, start, &extents);
            let here = self.operand(*part, Want::Any, None)?;
            if (here.base, here.first, &here.layout) != (there.base, there.first, &there.layout) {
                self.copy(&there, &here, node.output, vec![*part]);
            }
            start += extents[axis];
        }
        self.put(node.output, whole);
        Ok(())
    }

    fn pad(&mut self, node: &Node, before: &[u32], value: f32) -> Result<(), CompileError> {
        let input = *node.inputs.first().ok_or_else(|| fault("a border round nothing"))?;
        let x = self.operand(input, Want::Any, None)?;
        let y = self.allocate(node.output, &x.layout.order(), Freedom::Any, &[], &[]);
        let sides: Vec<(u32, u32)> = before
            .iter()
            .zip(&y.layout.extents)
            .zip(&x.layout.extents)
            .map(|((before, outer), inner)| (*before, outer.saturating_sub(*inner).saturating_sub(*before)))
            .collect();
        let inside = y.inside(&sides);
        // Here the border is a part of the value.
        self.fill(&inside, Halo { sides, value: value.to_bits() }, Made::Value(node.output));
        self.copy(&inside, &x, node.output, vec![input]);
        self.put(node.output, y);
        Ok(())
    }

    fn kernel(&mut self, node: &Node, kernel: &Rc<dyn Kernel>) -> Result<(), CompileError> {
        let mut operands = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            operands.push(self.operand(*input, kernel.want(index), kernel.halo(index))?);
        }
        let layouts: Vec<&Layout> = operands.iter().map(|place| &place.layout).collect();
        let order = kernel.order_for(&layouts, self.graph.extents(node.output).len());
        let freedom = match kernel.strided() {
            _ if kernel.anywhere() => Freedom::Any,
            Some(axis) => Freedom::Unit(axis),
            None => Freedom::Dense,
        };
        let overwritable: Vec<usize> = (0..operands.len()).filter(|index| kernel.in_place(*index)).collect();
        let y = self.allocate(node.output, &order, freedom, &operands, &overwritable);
        self.step(Rc::clone(kernel), y, operands, node);
        Ok(())
    }

    /// Moves outputs that do not lie where the host reads them.
    fn outputs(&mut self) -> Result<(), CompileError> {
        for (output, buffer) in self.graph.outputs.iter().zip(self.plan.outputs.clone()) {
            let here = self.operand(output.value, Want::Any, None)?;
            if here.base == Base::Buffer(buffer) {
                continue;
            }
            // The steps of a copy belong to the node that computes what is copied.
            let maker = self.graph.nodes.iter().position(|node| node.output == output.value);
            self.now = maker.unwrap_or(self.graph.nodes.len());
            let there = self.whole_tensor(output.value, buffer);
            self.copy(&there, &here, output.value, vec![output.value]);
        }
        Ok(())
    }

    /// Columns of a block of a node's weights, where that is asked for.
    fn block(&self, node: &Node) -> Option<u32> {
        let names = node.origins.iter().filter_map(|origin| self.graph.origins.get(*origin));
        names.into_iter().find_map(|origin| self.blocks.get(origin.name.as_str()).copied())
    }

    /// Remembers where a value lies.
    fn put(&mut self, value: ValueId, place: Place) {
        if let Base::Buffer(buffer) = place.base {
            let last = &mut self.buffer_last[buffer];
            *last = (*last).max(self.foresight.last[value.0]);
        }
        self.places.insert(value, place);
    }

    /// Where a value lies for a reader with these wishes; it is moved if it must be.
    fn operand(&mut self, value: ValueId, want: Want, halo: Option<Halo>) -> Result<Place, CompileError> {
        if self.graph.constant(value).is_some() && halo.is_none() {
            return self.constant(value, want);
        }
        let here = match self.places.get(&value) {
            Some(place) => place.clone(),
            None => self.constant(value, want)?,
        };
        let there = self.fitting(value, here, want, halo.clone());
        if let Some(halo) = halo.filter(|halo| halo.sides.iter().any(|side| *side != (0, 0))) {
            self.borders.push((there.clone(), halo));
        }
        Ok(there)
    }

    /// The place of a value, or of a copy that a reader with these wishes can read.
    fn fitting(&mut self, value: ValueId, here: Place, want: Want, halo: Option<Halo>) -> Place {
        if here.fits(want) && halo.as_ref().is_none_or(|halo| here.has_room(halo)) {
            return here;
        }
        let key = (value, want, halo);
        if let Some(moved) = self.moved.get(&key) {
            return moved.clone();
        }
        let mut order = here.layout.order();
        match want {
            Want::Any => {}
            Want::RowMajor => order = (0..here.layout.extents.len()).collect(),
            Want::Unit(axis) => {
                order.retain(|other| *other != axis);
                order.push(axis);
            }
        }
        let last = self.foresight.last[value.0].max(self.now);
        let there = self.fresh(&here.layout.extents, here.bytes, &order, key.2.as_ref(), last);
        self.copy(&there, &here, value, vec![value]);
        self.moved.insert(key, there.clone());
        there
    }

    /// Where a constant lies, in the order that a reader wants; it is written so into the module.
    fn constant(&mut self, value: ValueId, want: Want) -> Result<Place, CompileError> {
        let constant = self.graph.constant(value).ok_or_else(|| fault("a tensor has no place"))?;
        let mut order: Vec<usize> = (0..constant.shape.len()).collect();
        if let Want::Unit(axis) = want {
            order.retain(|other| *other != axis);
            order.push(axis);
        }
        let layout = Layout::ordered(&constant.shape, &order);
        let bytes = device_bytes(constant.data.dtype());
        let key = (value, order);
        let weight = match self.raw.get(&key) {
            Some(weight) => *weight,
            None => {
                let values =
                    constant.words().ok_or_else(|| fault("a constant has a type of the folder's only"))?;
                let mut words = vec![0; values.len()];
                let each = (bytes / 4) as usize;
                for (element, place) in values.chunks(each).zip(layout.places()) {
                    let at = place.unsigned_abs() as usize * each;
                    words[at..at + each].copy_from_slice(element);
                }
                let floats = constant.data.dtype() == DType::F32;
                let parameters = constant.data.len() as u64;
                let weight = self.add_weight(Weight { words, floats, parameters });
                self.raw.insert(key, weight);
                weight
            }
        };
        Ok(Place { base: Base::Weight(weight), first: 0, layout, bytes, room: None })
    }

    fn add_weight(&mut self, weight: Weight) -> usize {
        self.plan.weights.push(weight);
        self.plan.weights.len() - 1
    }

    /// Adds the step that computes a node's value, and remembers where it lies.
    fn step(&mut self, kernel: Rc<dyn Kernel>, y: Place, operands: Vec<Place>, node: &Node) {
        self.put(node.output, y.clone());
        self.part(kernel, y, operands, node);
    }

    /// Adds a step that computes a part of a node's value.
    fn part(&mut self, kernel: Rc<dyn Kernel>, y: Place, operands: Vec<Place>, node: &Node) {
        let scratch_bytes = kernel.scratch_bytes();
        let scratch = (scratch_bytes > 0)
            .then(|| self.add_buffer(scratch_bytes.next_multiple_of(4), Kind::Arena, self.now));
        self.plan.steps.push(Step {
            kernel,
            y,
            operands,
            scratch,
            origins: node.origins.clone(),
            made: Made::Value(node.output),
            reads: node.inputs.clone(),
            borders: self.borders.clone(),
        });
    }

    /// Adds a step that moves elements, of which `value` consists, as they are.
    fn copy(&mut self, there: &Place, here: &Place, value: ValueId, reads: Vec<ValueId>) {
        self.move_step(Pointwise::copy(), there.words(), vec![here.words()], Made::Value(value), reads);
    }

    /// Adds a step that fills the border of a place.
    fn fill(&mut self, place: &Place, halo: Halo, made: Made) {
        self.move_step(Fill { halo }, Place { room: None, ..place.clone() }, Vec::new(), made, Vec::new());
    }

    fn move_step(
        &mut self,
        kernel: impl Kernel + 'static,
        y: Place,
        operands: Vec<Place>,
        made: Made,
        reads: Vec<ValueId>,
    ) {
        let origins = self.graph.nodes.get(self.now).map(|node| node.origins.clone()).unwrap_or_default();
        let (kernel, borders) = (Rc::new(kernel), Vec::new());
        self.plan.steps.push(Step { kernel, y, operands, scratch: None, origins, made, reads, borders });
    }
}
