//! Recurrent layers: one step after the other, each from the state that the one before has left.
//!
//! ```text
//! for n in rows
//!   for t in steps, or from the last one back
//!     for each pass of the cell                   one, or two where a gate goes into a product
//!       for each group of hidden units            counted: see `pack`
//!         acc[g, u] = x[t, n, g, u]               all gates of the group at once, in locals
//!         for k in hidden: acc[g, u] += r[k, g, u] * h[k]
//!         c[u], h[u].. = functions(acc[.., u], c[u], h[u]..)
//!     y[t, n] = h
//! y[steps, n] = c                                 where it is wanted
//! ```
//! The share of the inputs, `x`, is a matrix product over all steps at once and comes before this kernel.
//! The formulas are those of ONNX's operators; they are programs, so that a cell is data: see
//! `op::recurrent`. Rows do not see each other and are computed one after the other: what a step costs
//! is reading its weights. h is read where the step before has written it, in y; c is kept where it is
//! wanted in the end, or in memory of the kernel's own.

mod group;
mod pack;

pub(crate) use pack::UNITS;

use wasm_encoder::Instruction;

use super::code::Code;
use super::expr::Index;
use crate::kernel::{Kernel, Operand, Want};
use crate::program::Program;

/// A vector with one number for each hidden unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The state of the step before when it is read, that of this step when it is written.
    Hidden,
    /// The same for the state of the cell.
    Cell,
    /// What one pass leaves for the next.
    Between(usize),
    /// A constant.
    Constant(usize),
}

/// One pass over all hidden units.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The gates with a sum over all hidden units, by their places in ONNX's weights.
    pub(crate) gates: Vec<usize>,
    /// The sums of the first gates start at their share of the inputs; the others start at 0, and their
    /// share is an operand of its own.
    pub(crate) started: usize,
    /// What is multiplied with the weights.
    pub(crate) times: Slot,
    /// Further operands.
    pub(crate) reads: Vec<Slot>,
    /// What is computed from the sums, the shares that no sum has, the vectors that are read, and the
    /// results before this one, in this order.
    pub(crate) results: Vec<(Slot, Program)>,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// One after the other.
    pub(crate) passes: Vec<Pass>,
    /// Whether there is a state of the cell beside the output.
    pub(crate) has_cell: bool,
}

/// A recurrent layer in one direction.
///
/// Operands: x `[steps, rows, columns]` in the order of [`Cell::columns`], the packed weights, the first
/// h `[rows, hidden]` (or `[1, hidden]` for all rows), the first c if there is one, and constants `[padded hidden]`. The result is
/// `[steps, 1, rows, hidden]`, with a step more for the last c if it is wanted.
#[derive(Debug)]
pub(crate) struct Recurrent {
    /// For people.
    pub(crate) name: &'static str,
    pub(crate) steps: u32,
    /// The axis of rows; without one, all tensors lack it.
    pub(crate) rows: Option<u32>,
    pub(crate) hidden: u32,
    /// Whether the last step comes first.
    pub(crate) reverse: bool,
    /// Whether the last c lies behind the last step of the result.
    pub(crate) keeps_cell: bool,
    pub(crate) cell: Cell,
}

/// Where the vectors of a step begin. What is read and what is written may be one and the same.
struct State {
    hidden: Index,
    next_hidden: Index,
    cell: Option<Index>,
    next_cell: Option<Index>,
    between: Vec<Index>,
    constants: Vec<Index>,
}

impl State {
    fn read(&self, slot: Slot) -> Option<Index> {
        match slot {
            Slot::Hidden => Some(self.hidden),
            Slot::Cell => self.cell,
            Slot::Between(place) => self.between.get(place).copied(),
            Slot::Constant(place) => self.constants.get(place).copied(),
        }
    }

    fn written(&self, slot: Slot) -> Option<Index> {
        match slot {
            Slot::Hidden => Some(self.next_hidden),
            Slot::Cell => self.next_cell,
            Slot::Between(_) | Slot::Constant(_) => self.read(slot),
        }
    }
}

impl Kernel for Recurrent {
    fn title(&self) -> String {
        let back = if self.reverse { ", from the last" } else { "" };
        format!("{} of {} units, {} steps{back}", self.name, self.hidden, self.steps)
    }

    fn macs(&self, _: u64) -> u64 {
        let gates: usize = self.cell.passes.iter().map(|pass| pass.gates.len()).sum();
        let steps = u64::from(self.steps).saturating_mul(self.rows.unwrap_or(1).into());
        u64::from(self.hidden).pow(2).saturating_mul(gates as u64).saturating_mul(steps)
    }

    fn want(&self, index: usize) -> Want {
        let rows = usize::from(self.rows.is_some());
        match index {
            0 => Want::Unit(1 + rows),
            1 => Want::RowMajor,
            _ => Want::Unit(if index <= 2 + usize::from(self.cell.has_cell) { rows } else { 0 }),
        }
    }

    fn strided(&self) -> Option<usize> {
        Some(2 + usize::from(self.rows.is_some()))
    }

    fn scratch_bytes(&self) -> u64 {
        let own = self.cell.between() + usize::from(self.cell.has_cell && !self.keeps_cell);
        self.vector_bytes().saturating_mul(own as u64)
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], scratch: Option<Index>) {
        let [x, w, h, rest @ ..] = operands else { return };
        let Some((c, constants)) = rest.split_at_checked(usize::from(self.cell.has_cell)) else { return };
        let stride = |operand: &Operand, axis: usize| operand.layout.strides[axis] * 4;
        // A row that is there once is read by all.
        let row_stride = |operand: &Operand, axis: usize| match (self.rows, operand.layout.extents.get(axis))
        {
            (None, _) | (Some(_), Some(1) | None) => 0,
            (Some(_), Some(_)) => stride(operand, axis),
        };
        let (mut x_step, mut y_step) = (stride(x, 0), stride(y, 0));
        code.counted(self.rows.unwrap_or(1), |code| {
            code.scoped(|code| {
                let (x_at, mut own) = (code.copy(x.at), scratch);
                let mut vector = |code: &mut Code| {
                    let first = own?;
                    let next = code.copy(first);
                    code.advance(next, self.vector_bytes().cast_signed());
                    own = Some(next);
                    Some(first)
                };
                let between = (0..self.cell.between()).filter_map(|_| vector(code)).collect();
                let next_cell = if self.keeps_cell {
                    let behind = code.copy(y.at);
                    code.advance(behind, y_step * i64::from(self.steps));
                    Some(behind)
                } else {
                    vector(code)
                };
                let state = State {
                    hidden: code.copy(h.at),
                    next_hidden: code.copy(y.at),
                    cell: c.first().map(|first| code.copy(first.at)),
                    next_cell,
                    between,
                    constants: constants.iter().map(|constant| constant.at).collect(),
                };
                if self.reverse {
                    let back = i64::from(self.steps.saturating_sub(1));
                    code.advance(x_at, x_step * back);
                    code.advance(state.next_hidden, y_step * back);
                    (x_step, y_step) = (-x_step, -y_step);
                }
                code.counted(self.steps, |code| {
                    self.step(code, &state, x_at, w.at);
                    // The next step starts where this one has written.
                    point(code, state.hidden, state.next_hidden);
                    if let (Some(cell), Some(next)) = (state.cell, state.next_cell) {
                        point(code, cell, next);
                    }
                    code.advance(x_at, x_step);
                    code.advance(state.next_hidden, y_step);
                });
            });
            code.advance(x.at, row_stride(x, 1));
            code.advance(y.at, row_stride(y, 2));
            for first in std::iter::once(h).chain(c) {
                code.advance(first.at, row_stride(first, 0));
            }
        });
    }
}

/// `to = from`
fn point(code: &mut Code, to: Index, from: Index) {
    code.raw([Instruction::LocalGet(from.0), Instruction::LocalSet(to.0)]);
}
