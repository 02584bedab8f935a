//! Sweeps over some axes of a tensor: reductions, normalisations, softmax.
//!
//! ```text
//! for each place of the kept axes
//!   for each fold f
//!     r[f] = then_f(the sum, product, … over the swept axes of of_f(x[…], r[0], …), r[0], …)
//!   y[kept] = r[last]                                            a reduction, or
//!   y[kept, swept] = map(x[…], r[0], …, extras[…])               for each place of the swept axes
//! ```
//! A mean is one fold, a layer normalisation two (the mean, then the variance of the differences) with a
//! map, a softmax two (the maximum, then the sum of the exponentials) with a map. A fold may keep its
//! numbers in y, so that what follows reads those instead of x: exponentials are computed once.
//!
//! Nothing is asked of the operands' strides. The lanes of a vector are neighbours along x's innermost
//! axis: if it is swept, they are combined in the end ([`rows`]); if it is kept, every lane has its own
//! fold ([`columns`]).

mod columns;
mod rows;

use super::code::Code;
use super::expr::{Expr, Index, Vector};
use super::pointwise::{Axis, merged};
use super::program;
use crate::constant::{Constant, ConstantData};
use crate::kernel::{Kernel, Layout, Operand, Want};
use crate::program::{Formula, Program, operand};

/// A program up to this length is short: several vectors share a turn of the loop.
const SHORT_INSTS: usize = 6;
/// Accumulators that hide the latency of an addition.
const ACCUMULATORS: u32 = 4;

/// How numbers are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    Sum,
    Product,
    /// The smallest; NaN if there is one.
    Least,
    /// The greatest; NaN if there is one.
    Greatest,
    /// The greatest; whether a NaN counts is open.
    Top,
}

/// One fold over the swept axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fold {
    /// How numbers are combined.
    pub(crate) combine: Combine,
    /// What is combined: operand 0 is x, or what an earlier fold kept; then come the results before.
    pub(crate) of: Program,
    /// The result: operand 0 is what was combined, then come the results before.
    pub(crate) then: Program,
    /// Whether y keeps what is combined.
    pub(crate) keep: bool,
}

impl Fold {
    /// A fold of `of`, and its result as it is.
    pub(crate) fn new(combine: Combine, of: &Formula) -> Fold {
        Fold { combine, of: Program::from(of), then: Program::identity(), keep: false }
    }

    /// The same with another result.
    pub(crate) fn then(self, then: &Formula) -> Fold {
        Fold { then: Program::from(then), ..self }
    }

    /// The same, with what is combined kept in y.
    pub(crate) fn kept(self) -> Fold {
        Fold { keep: true, ..self }
    }
}

/// Folds, and a map of what they give.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// The extents of x.
    pub(crate) extents: Vec<u32>,
    /// Which axes are swept.
    pub(crate) swept: Vec<bool>,
    /// At least one.
    pub(crate) folds: Vec<Fold>,
    /// Operand 0 is x, or what a fold kept; then come the results, then the extras, which broadcast to x.
    /// Without it, y is the last result, and swept axes have the extent 1.
    pub(crate) map: Option<Program>,
    /// Whether every number of the result is a probability.
    pub(crate) probability: bool,
}

impl Kernel for Sweep {
    fn title(&self) -> String {
        let list = |extents: &mut dyn Iterator<Item = &u32>| {
            extents.map(u32::to_string).collect::<Vec<_>>().join(", ")
        };
        let swept = self.extents.iter().zip(&self.swept).filter(|(_, swept)| **swept);
        let over = list(&mut swept.map(|(extent, _)| extent));
        format!("{} over [{over}] of [{}]", self.name, list(&mut self.extents.iter()))
    }

    fn is_probability(&self) -> bool {
        self.probability
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn order_for(&self, operands: &[&Layout], rank: usize) -> Vec<usize> {
        operands.first().map_or_else(|| (0..rank).collect(), |x| x.order())
    }

    fn anywhere(&self) -> bool {
        true
    }

    fn as_sweep(&self) -> Option<&Sweep> {
        Some(self)
    }

    fn in_place(&self, index: usize) -> bool {
        index == 0 && self.map.is_some()
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let Some(x) = operands.first() else { return };
        let tensors = [&[x.clone(), y.clone()], &operands[1..]].concat();
        let job = Job {
            sweep: self,
            pointers: tensors.iter().map(|tensor| tensor.at).collect(),
            layouts: tensors.iter().map(|tensor| tensor.layout.broadcast(&self.extents)).collect(),
        };
        let inner = x.layout.order().into_iter().rfind(|axis| self.extents[*axis] != 1);
        if inner.is_none_or(|axis| self.swept[axis]) {
            rows::emit(code, &job);
        } else {
            columns::emit(code, &job);
        }
    }

    fn evaluate(&self, operands: &[&Constant]) -> Option<ConstantData> {
        let (x, extras) = operands.split_first()?;
        let extras = crate::passes::fold::broadcast_all(extras, &self.extents, |extra| {
            extra.f32s().map(<[f32]>::to_vec)
        })?;
        let mut x = x.f32s()?.to_vec();
        let whole = Layout::row_major(&self.extents);
        let (kept, swept) = (part(&whole, &self.swept, false), part(&whole, &self.swept, true));
        let mut reduced = Vec::new();
        for row in kept.places() {
            let places: Vec<usize> =
                swept.places().map(|place| (row + place).unsigned_abs() as usize).collect();
            let mut results: Vec<f32> = Vec::new();
            for fold in &self.folds {
                let mut sum = fold.combine.neutral();
                for place in &places {
                    let number = fold.of.evaluate(|i| if i == 0 { x[*place] } else { results[i - 1] });
                    sum = fold.combine.function().evaluate(|i| [sum, number][i]);
                    if fold.keep {
                        x[*place] = number;
                    }
                }
                results.push(fold.then.evaluate(|i| if i == 0 { sum } else { results[i - 1] }));
            }
            match &self.map {
                None => reduced.extend(results.last()),
                Some(map) => places.iter().for_each(|place| {
                    x[*place] = map.evaluate(|i| match i.checked_sub(1) {
                        None => x[*place],
                        Some(result) if result < results.len() => results[result],
                        Some(extra) => extras[extra - results.len()][*place],
                    });
                }),
            }
        }
        Some(ConstantData::F32(if self.map.is_some() { x } else { reduced }))
    }
}

/// The swept axes of a layout, or the others.
pub(super) fn part(layout: &Layout, swept: &[bool], which: bool) -> Layout {
    let axes: Vec<usize> = (0..swept.len()).filter(|axis| swept[*axis] == which).collect();
    Layout {
        extents: axes.iter().map(|axis| layout.extents[*axis]).collect(),
        strides: axes.iter().map(|axis| layout.strides[*axis]).collect(),
    }
}

impl Combine {
    fn neutral(self) -> f32 {
        match self {
            Combine::Sum => 0.0,
            Combine::Product => 1.0,
            Combine::Least => f32::INFINITY,
            Combine::Greatest | Combine::Top => f32::NEG_INFINITY,
        }
    }

    fn function(self) -> Program {
        let (a, b) = (operand(0), operand(1));
        Program::from(&match self {
            Combine::Sum => a + b,
            Combine::Product => a * b,
            Combine::Least => a.min(b),
            Combine::Greatest | Combine::Top => a.max(b),
        })
    }

    /// `all = all combined with number`
    fn add(self, code: &mut Code, all: Vector, number: Vector) {
        code.scoped(|code| {
            let result: Expr = match self {
                Combine::Sum => all + number,
                Combine::Product => all * number,
                Combine::Top => Expr::from(all).at_least(number),
                Combine::Least | Combine::Greatest => {
                    program::evaluate(code, &self.function(), &[all, number]).into()
                }
            };
            code.assign(all, result);
        });
    }
}

/// A sweep over tensors in memory.
struct Job<'a> {
    sweep: &'a Sweep,
    /// x, y, and the extras.
    pointers: Vec<Index>,
    /// Their layouts over the axes of x.
    layouts: Vec<Layout>,
}

/// The places of x and y among the tensors.
const X: usize = 0;
const Y: usize = 1;

impl Job<'_> {
    /// The swept axes or the others, as few as possible, in the order of the first of these tensors.
    fn axes(&self, swept: bool, tensors: &[usize]) -> Vec<Axis> {
        let parts: Vec<Layout> =
            tensors.iter().map(|tensor| part(&self.layouts[*tensor], &self.sweep.swept, swept)).collect();
        merged(&parts.iter().collect::<Vec<_>>())
    }

    /// The way of these tensors along the swept axes.
    fn walk(&self, tensors: &[usize]) -> Walk {
        let mut once: Vec<usize> = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            if !once.contains(tensor) {
                once.push(*tensor);
            }
        }
        let pointers = once.iter().map(|tensor| self.pointers[*tensor]).collect();
        Walk { axes: self.axes(true, &once), pointers, tensors: once }
    }

    /// The tensors behind x and y, and those of them that differ along the swept axes.
    fn extras(&self) -> (Vec<usize>, Vec<usize>) {
        let extras: Vec<usize> = (Y + 1..self.pointers.len()).collect();
        let varying = extras.iter().copied().filter(|extra| self.varies(*extra)).collect();
        (extras, varying)
    }

    /// Whether a tensor differs along the swept axes.
    fn varies(&self, tensor: usize) -> bool {
        let part = part(&self.layouts[tensor], &self.sweep.swept, true);
        part.extents.iter().zip(&part.strides).any(|(extent, stride)| *extent != 1 && *stride != 0)
    }

    /// The map, with what does not change along the swept axes apart.
    fn map(&self, map: &Program) -> (Vec<Program>, Program) {
        let folds = self.sweep.folds.len();
        let operands = folds + self.pointers.len() - 1;
        map.hoisted(operands, |place| place == 0 || place > folds && self.varies(place - folds + 1))
    }
}

/// Some tensors along the swept axes.
struct Walk {
    /// Each once.
    tensors: Vec<usize>,
    pointers: Vec<Index>,
    /// The axes, with a stride for each tensor.
    axes: Vec<Axis>,
}

impl Walk {
    /// A tensor's pointer, and its stride along an axis of this walk.
    fn step(&self, tensor: usize, axis: &Axis) -> (Index, i64) {
        let place = self.tensors.iter().position(|other| *other == tensor).unwrap_or(0);
        (self.pointers[place], axis.strides[place])
    }
}

/// Operands of a program that was hoisted from: a place for what varies, the others, and what `fixed` gives.
fn shared(code: &mut Code, fixed: &[Program], place: Vector, others: &[Vector]) -> Vec<Vector> {
    let mut operands = [&[place], others].concat();
    for program in fixed {
        let result = program::evaluate(code, program, &operands);
        operands.push(result);
    }
    operands
}

/// How many vectors share a turn of a loop over a program.
fn vectors_a_turn(program: &Program, available: u32) -> u32 {
    let most = if program.insts().len() <= SHORT_INSTS { ACCUMULATORS } else { 1 };
    most.min(available).max(1)
}
