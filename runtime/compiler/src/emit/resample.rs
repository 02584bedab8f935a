//! A tensor at other places along some of its axes: the nearest element, or a mean of the two around.
//!
//! ```text
//! for each axis of the result, from the largest stride to the smallest
//!   along a resampled one: from = x + step * index[o], and a second from where there is a weight[o]
//!     for i in the innermost axis, which is not resampled
//!       y[…, i] = from[i], or from[0][i] + weight[o] * (from[1][i] - from[0][i]) for each axis
//! ```
//! Indices and weights are tables in the module.

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg};

use super::code::Code;
use super::expr::{Expr, Index, Vector};
use crate::kernel::{Kernel, Operand, Want, is_number};

/// A resampled axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Its place.
    pub(crate) axis: usize,
    /// Whether there are two elements for each, and a weight for the second.
    pub(crate) mixes: bool,
}

/// The kernel. Operands: x, then for each axis its indices (two for each place, if it mixes) and, if it
/// mixes, its weights.
#[derive(Clone, Debug)]
pub(crate) struct Resample {
    /// The resampled axes.
    pub(crate) axes: Vec<Axis>,
    /// The axis that the lanes lie along, which is not resampled.
    pub(crate) unit: usize,
}

/// A resampled axis, while the code is written.
struct Table {
    axis: usize,
    indices: Index,
    weights: Option<Index>,
}

/// How many vectors share a turn of the innermost loop.
const UNROLL: u32 = 4;

impl Kernel for Resample {
    fn title(&self) -> String {
        let kind = if self.axes.iter().any(|axis| axis.mixes) { "linear" } else { "nearest" };
        format!("resize, {kind}")
    }

    fn takes(&self, index: usize, dtype: DType) -> bool {
        // Behind x, tables of places and of weights.
        if index == 0 { is_number(dtype) } else { matches!(dtype, DType::I32 | DType::F32) }
    }

    fn want(&self, index: usize) -> Want {
        if index == 0 { Want::Unit(self.unit) } else { Want::RowMajor }
    }

    fn order(&self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|axis| *axis != self.unit).chain([self.unit]).collect()
    }

    fn strided(&self) -> Option<usize> {
        Some(self.unit)
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let Some((x, mut rest)) = operands.split_first() else { return };
        let mut tables = Vec::with_capacity(self.axes.len());
        for axis in &self.axes {
            let (own, others) = rest.split_at((1 + usize::from(axis.mixes)).min(rest.len()));
            rest = others;
            let Some(indices) = own.first() else { return };
            tables.push(Table {
                axis: axis.axis,
                indices: indices.at,
                weights: own.get(1).map(|own| own.at),
            });
        }
        let order: Vec<usize> = y.layout.order().into_iter().filter(|axis| *axis != self.unit).collect();
        let nest = Nest { y, x, tables: &tables, unit: self.unit };
        nest.axes(code, &order, &[x.at], &[]);
    }
}

struct Nest<'a> {
    y: &'a Operand,
    x: &'a Operand,
    tables: &'a [Table],
    unit: usize,
}

impl Nest<'_> {
    /// Loops over the axes in `order` and then along the innermost; leaves the pointers where they were.
    /// Every source has its twin behind it for each weight, the last weight's nearest.
    fn axes(&self, code: &mut Code, order: &[usize], sources: &[Index], weights: &[Vector]) {
        let Some((axis, inner)) = order.split_first() else { return self.innermost(code, sources, weights) };
        let (len, step) = (self.y.layout.extents[*axis], self.y.layout.strides[*axis] * 4);
        let own = self.x.layout.strides[*axis] * 4;
        let Some(table) = self.tables.iter().find(|table| table.axis == *axis) else {
            code.counted(len, |code| {
                self.axes(code, inner, sources, weights);
                code.advance(self.y.at, step);
                sources.iter().for_each(|source| code.advance(*source, own));
            });
            code.advance(self.y.at, -step * i64::from(len));
            return sources.iter().for_each(|source| code.advance(*source, -own * i64::from(len)));
        };
        code.scoped(|code| {
            let indices = code.copy(table.indices);
            let shares = table.weights.map(|at| code.copy(at));
            let twins: u32 = if shares.is_some() { 2 } else { 1 };
            code.counted(len, |code| {
                code.scoped(|code| {
                    let moved: Vec<Index> = sources
                        .iter()
                        .flat_map(|source| (0..twins).map(move |twin| (*source, twin)))
                        .map(|(source, twin)| moved(code, source, (indices, twin * 4), own))
                        .collect();
                    let mut weights = weights.to_vec();
                    weights.extend(shares.map(|at| code.set(Expr::Splat { at, offset: 0 })));
                    self.axes(code, inner, &moved, &weights);
                });
                code.advance(self.y.at, step);
                code.advance(indices, i64::from(twins) * 4);
                if let Some(at) = shares {
                    code.advance(at, 4);
                }
            });
        });
        code.advance(self.y.at, -step * i64::from(len));
    }

    fn innermost(&self, code: &mut Code, sources: &[Index], weights: &[Vector]) {
        let len = self.y.layout.extents[self.unit];
        let pointers = [&[self.y.at], sources].concat();
        code.along(len, if weights.is_empty() { UNROLL } else { 1 }, &pointers, |code, offset, lanes| {
            code.scoped(|code| {
                let load = |at: &Index| Expr::Load { at: *at, offset, lanes };
                let mut numbers: Vec<Vector> = sources.iter().map(|at| code.set(load(at))).collect();
                for weight in weights.iter().rev() {
                    let mixed = |code: &mut Code, pair: &[Vector]| match pair {
                        [a, b] => code.set(Expr::mul_add(*b - *a, *weight, *a)),
                        _ => pair[0],
                    };
                    numbers = numbers.chunks(2).map(|pair| mixed(code, pair)).collect();
                }
                if let Some(number) = numbers.first() {
                    code.store(self.y.at, offset, lanes, *number);
                }
            });
        });
        pointers.iter().for_each(|pointer| code.advance(*pointer, -4 * i64::from(len)));
    }
}

/// `from + step * table[offset]`, as a new pointer.
fn moved(code: &mut Code, from: Index, (table, offset): (Index, u32), step: i64) -> Index {
    let to = code.index();
    // Addresses are counted modulo 2^32.
    #[allow(clippy::cast_possible_truncation)]
    let step = step as i32;
    code.raw([
        Instruction::LocalGet(table.0),
        Instruction::I32Load(MemArg { offset: offset.into(), align: 2, memory_index: 0 }),
        Instruction::I32Const(step),
        Instruction::I32Mul,
        Instruction::LocalGet(from.0),
        Instruction::I32Add,
        Instruction::LocalSet(to.0),
    ]);
    to
}
