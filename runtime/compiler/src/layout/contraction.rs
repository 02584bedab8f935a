//! Matrix products as contractions: which axes are rows, which are summed over, and by how much a step
//! along each moves every operand; and what convolutions have in common with them.

use std::rc::Rc;

use super::allocate::Freedom;
use super::place::{Base, Place, Weight};
use super::{Planner, fault};
use crate::emit::code::{Code, lanes};
use crate::emit::contract::{self, Contract, Extra, Part, Pointers, RowAxis, SumAxis, Weights};
use crate::emit::expr::Index;
use crate::error::CompileError;
use crate::graph::{MatMul, Node, ValueId};
use crate::kernel::{Kernel, Layout, Operand, Region, Want};

/// One function of a contraction.
#[derive(Debug)]
struct PartKernel {
    part: Part,
    title: String,
    macs: u64,
    block: Option<u32>,
    bias: bool,
    lanes: u32,
}

impl Kernel for PartKernel {
    fn title(&self) -> String {
        format!("{}, {}", self.title, self.part.title())
    }

    fn macs(&self, _: u64) -> u64 {
        self.macs
    }

    fn block(&self) -> Option<u32> {
        self.block
    }

    fn reads(&self, index: usize, operand: &Layout, _: &Layout) -> Vec<Region> {
        match (index, index.checked_sub(2 + usize::from(self.bias))) {
            (0, _) => self.part.x_region(),
            (1, _) => self.part.w_region(self.lanes),
            (_, Some(extra)) => self.part.extra_region(extra, self.lanes),
            (_, None) => Region::whole(operand),
        }
    }

    fn writes(&self, _: &Layout) -> Vec<Region> {
        self.part.y_region(self.lanes)
    }

    fn in_place(&self, index: usize) -> bool {
        index >= 2 + usize::from(self.bias)
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let [x, w, rest @ ..] = operands else { return };
        let (bias, extras) = rest.split_at(usize::from(self.bias));
        let pointers = Pointers {
            y: y.at,
            x: x.at,
            w: w.at,
            bias: bias.first().map(|bias| bias.at),
            extras: extras.iter().map(|extra| extra.at).collect(),
        };
        self.part.emit(code, &pointers);
    }
}

/// A contraction with everything that it works on.
pub(super) struct Job {
    pub(super) contract: Contract,
    pub(super) title: String,
    /// Where x is read for the first row and the first term.
    pub(super) x: Place,
    pub(super) w: Place,
    pub(super) bias: Option<Place>,
    pub(super) extras: Vec<Place>,
    pub(super) y: Place,
}

/// The operands behind x and w.
pub(super) struct Rest {
    pub(super) bias: Option<ValueId>,
    pub(super) extras: Vec<ValueId>,
}

impl Rest {
    pub(super) fn of(node: &Node, bias: bool) -> Rest {
        let rest = node.inputs.get(2..).unwrap_or_default();
        let (own, extras) = rest.split_at(usize::from(bias).min(rest.len()));
        Rest { bias: own.first().copied(), extras: extras.to_vec() }
    }
}

pub(super) fn matmul(planner: &mut Planner<'_>, node: &Node, matmul: &MatMul) -> Result<(), CompileError> {
    let [x, w, ..] = node.inputs.as_slice() else { return Err(fault("a product of less than two tensors")) };
    let extents = planner.graph.extents(node.output).to_vec();
    let rank = extents.len();
    let (Some(k), Some(n)) = (planner.graph.extents(*x).last().copied(), extents.last().copied()) else {
        return Err(fault("a product of scalars"));
    };
    let whole = |rows: u32, columns: u32| [&extents[..rank - 2], &[rows, columns]].concat();
    let x_place = planner.operand(*x, Want::Any, None)?.broadcast(&whole(extents[rank - 2], k));
    let computed = match planner.graph.constant(*w) {
        Some(_) => None,
        None => Some(planner.operand(*w, Want::Unit(planner.graph.extents(*w).len() - 1), None)?),
    };
    let w_layout = match &computed {
        None => Layout::row_major(planner.graph.extents(*w)),
        Some(place) => place.layout.clone(),
    };
    let w_layout = w_layout.broadcast(&whole(k, n));
    let rest = Rest::of(node, matmul.bias);
    let extras = extras(planner, &rest, &extents, rank - 1)?;
    let order: Vec<usize> = (0..rank).collect();
    let factors = std::iter::once(&x_place).chain(&computed);
    let y = allocate(planner, node, &order, rank - 1, factors, &extras);
    let rows = (0..rank - 1)
        .map(|axis| RowAxis {
            len: extents[axis],
            x: x_place.layout.strides[axis],
            y: y.layout.strides[axis],
            w: if axis < rank - 2 { w_layout.strides[axis] } else { 0 },
            bias: 0,
        })
        .collect();
    let sums = vec![SumAxis { len: k, x: x_place.layout.strides[rank - 1], w: w_layout.strides[rank - 2] }];
    let contract = Contract {
        rows,
        sums,
        columns: n,
        weights: if computed.is_none() { Weights::Packed } else { Weights::Rows },
        bias: rest.bias.is_some(),
        epilogue: matmul.epilogue.clone(),
        extras: extras.iter().map(|extra| self::extra(extra, rank - 1)).collect(),
        block: planner.block(node),
    };
    let title = format!(
        "product [{}, {k}] x [{k}, {n}]",
        extents[..rank - 1].iter().map(|e| u64::from(*e)).product::<u64>()
    );
    let w_place = if let Some(computed) = computed {
        computed
    } else {
        let constant = planner.graph.constant(*w).and_then(|constant| constant.f32s());
        let numbers = constant.ok_or_else(|| fault("weights are not f32"))?;
        // Every set of weights, in the order of the axes that have their own.
        let own: Vec<usize> = (0..rank - 2).filter(|axis| w_layout.strides[*axis] != 0).collect();
        let sets = Layout {
            extents: own.iter().map(|axis| extents[*axis]).collect(),
            strides: own.iter().map(|axis| w_layout.strides[*axis]).collect(),
        };
        let first: Vec<i64> = sets.places().collect();
        let (down, right) = (w_layout.strides[rank - 2], w_layout.strides[rank - 1]);
        let at = |set: u64, k: u64, j: u32| {
            let place = first[set as usize] + k as i64 * down + i64::from(j) * right;
            numbers[place.unsigned_abs() as usize]
        };
        let packed = contract::pack(&contract, lanes(planner.simd), at);
        weights(planner, packed, numbers.len())
    };
    let bias = bias(planner, &rest)?;
    planner.put(node.output, y.clone());
    run(planner, node, Job { contract, title, x: x_place, w: w_place, bias, extras, y });
    Ok(())
}

/// A place for the result. Every step of a contraction reads its factors anywhere, and its extras where it
/// writes.
pub(super) fn allocate<'a>(
    planner: &mut Planner<'_>,
    node: &Node,
    order: &[usize],
    columns: usize,
    factors: impl Iterator<Item = &'a Place>,
    extras: &'a [Place],
) -> Place {
    let operands: Vec<Place> = factors.chain(extras).cloned().collect();
    let overwritable: Vec<usize> = (operands.len() - extras.len()..operands.len()).collect();
    planner.allocate(node.output, order, Freedom::Unit(columns), &operands, &overwritable)
}

/// The extras as the result's shape sees them; along the columns they are neighbours or repeat.
pub(super) fn extras(
    planner: &mut Planner<'_>,
    rest: &Rest,
    extents: &[u32],
    columns: usize,
) -> Result<Vec<Place>, CompileError> {
    let read = |value: &ValueId| {
        let own = planner.graph.extents(*value).len();
        let want = match (columns + own).checked_sub(extents.len()) {
            Some(axis) => Want::Unit(axis),
            None => Want::Any,
        };
        Ok(planner.operand(*value, want, None)?.broadcast(extents))
    };
    rest.extras.iter().map(read).collect()
}

/// How an extra is walked: its strides along all axes but the columns, and along those.
pub(super) fn extra(place: &Place, columns: usize) -> Extra {
    let mut rows = place.layout.strides.clone();
    let column = rows.remove(columns);
    Extra { rows, column }
}

/// The bias, with zeros up to whole vectors.
pub(super) fn bias(planner: &mut Planner<'_>, rest: &Rest) -> Result<Option<Place>, CompileError> {
    let Some(value) = rest.bias else { return Ok(None) };
    let constant = planner.graph.constant(value).and_then(|constant| constant.f32s());
    let mut numbers = constant.ok_or_else(|| fault("a bias is no constant"))?.to_vec();
    let parameters = numbers.len();
    numbers.resize(parameters.next_multiple_of(4), 0.0);
    Ok(Some(weights(planner, numbers, parameters)))
}

/// Numbers as they are to lie in the module.
pub(super) fn weights(planner: &mut Planner<'_>, numbers: Vec<f32>, parameters: usize) -> Place {
    let words: Vec<u32> = numbers.into_iter().map(f32::to_bits).collect();
    let layout = Layout::row_major(&[u32::try_from(words.len()).unwrap_or(u32::MAX)]);
    let weight = planner.add_weight(Weight { words, floats: true, parameters: parameters as u64 });
    Place { base: Base::Weight(weight), first: 0, layout, bytes: 4, room: None }
}

/// Adds a step for each function.
pub(super) fn run(planner: &mut Planner<'_>, node: &Node, job: Job) {
    let parts = contract::parts(&job.contract, lanes(planner.simd));
    let moved = |place: &Place, distance: i64| Place { first: place.first + distance, ..place.clone() };
    for part in parts {
        let offsets = part.offsets.clone();
        let mut operands = vec![moved(&job.x, offsets.x), moved(&job.w, offsets.w)];
        operands.extend(job.bias.as_ref().map(|bias| moved(bias, offsets.bias)));
        operands
            .extend(job.extras.iter().zip(&offsets.extras).map(|(place, distance)| moved(place, *distance)));
        let y = moved(&job.y, offsets.y);
        let macs = part.macs(lanes(planner.simd));
        let block = part.block(lanes(planner.simd));
        let (title, bias, lanes) = (job.title.clone(), job.bias.is_some(), lanes(planner.simd));
        let kernel = PartKernel { title, macs, block, bias, lanes, part };
        planner.part(Rc::new(kernel), y, operands, node);
    }
}
