//! Functions of the elements at one place of several tensors, and copies from one layout to another.
//!
//! ```text
//! for each axis, from the result's largest stride to its smallest
//!   y[…] = program(x0[…], x1[…], …)        an operand without the axis repeats
//! ```
//! Axes along which all tensors go on alike are merged first, so that most models have one loop. The
//! innermost loop takes a vector at a time; where a tensor's neighbours are not neighbours in memory,
//! lanes are read or written one by one.

use super::code::Code;
use super::expr::{Expr, Index, Vector};
use super::program::evaluate;
use crate::kernel::{Kernel, Layout, Operand, Want};
use crate::program::{Inst, Program};

/// Vectors a turn of the innermost loop, for short programs: back edges are where a host may check its
/// clock.
const UNROLL: u32 = 4;
/// A program up to this length is short.
const SHORT_INSTS: usize = 6;

/// An element-wise function.
#[derive(Debug)]
pub(crate) struct Pointwise {
    /// The function.
    pub(crate) program: Program,
}

impl Pointwise {
    /// Elements go to another place as they are.
    pub(crate) fn copy() -> Pointwise {
        Pointwise { program: Program::identity() }
    }
}

/// One axis, with the strides of the result and then of each operand, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) len: u32,
    pub(super) strides: Vec<i64>,
}

impl Kernel for Pointwise {
    fn title(&self) -> String {
        if self.program.is_identity() {
            return "copy".to_string();
        }
        let computed = |inst: &&Inst| !matches!(inst, Inst::Operand(_) | Inst::Number(_));
        format!("element-wise, {} operations", self.program.insts().iter().filter(computed).count())
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn in_place(&self, _: usize) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let tensors: Vec<&Operand> = std::iter::once(y).chain(operands).collect();
        let axes = merged(&tensors.iter().map(|tensor| &tensor.layout).collect::<Vec<_>>());
        let pointers: Vec<Index> = tensors.iter().map(|tensor| tensor.at).collect();
        let Some((inner, outer)) = axes.split_last() else { return };
        nest(code, outer, &pointers, &mut |code| innermost(code, &self.program, inner, &pointers));
    }
}

/// The axes of tensors of one shape, from the first one's largest stride to its smallest; those that can
/// be walked as one are one. At least one axis.
pub(super) fn merged(layouts: &[&Layout]) -> Vec<Axis> {
    merged_bytes(&layouts.iter().map(|layout| (*layout, 4)).collect::<Vec<_>>())
}

/// The same for tensors with elements of so many bytes.
pub(super) fn merged_bytes(layouts: &[(&Layout, u32)]) -> Vec<Axis> {
    let Some((y, _)) = layouts.first() else { return Vec::new() };
    let mut axes: Vec<Axis> = Vec::new();
    for axis in y.order().into_iter().filter(|axis| y.extents[*axis] != 1) {
        let strides: Vec<i64> =
            layouts.iter().map(|(layout, bytes)| layout.strides[axis] * i64::from(*bytes)).collect();
        let len = y.extents[axis];
        match axes.last_mut() {
            Some(last)
                if last
                    .strides
                    .iter()
                    .zip(&strides)
                    .all(|(outer, inner)| *outer == inner * i64::from(len)) =>
            {
                last.len *= len;
                last.strides = strides;
            }
            Some(_) | None => axes.push(Axis { len, strides }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { len: 1, strides: vec![4; layouts.len()] });
    }
    axes
}

/// Loops over `axes`, outermost first, round `body`, which leaves the pointers where they were.
pub(super) fn nest(code: &mut Code, axes: &[Axis], pointers: &[Index], body: &mut dyn FnMut(&mut Code)) {
    let Some((axis, inner)) = axes.split_first() else { return body(code) };
    code.counted(axis.len, |code| {
        nest(code, inner, pointers, body);
        pointers.iter().zip(&axis.strides).for_each(|(pointer, stride)| code.advance(*pointer, *stride));
    });
    let len = i64::from(axis.len);
    pointers.iter().zip(&axis.strides).for_each(|(pointer, stride)| code.advance(*pointer, -stride * len));
}

/// The innermost loop; leaves the pointers where they were.
fn innermost(code: &mut Code, function: &Program, axis: &Axis, pointers: &[Index]) {
    let full = code.lanes();
    let unroll = if function.insts().len() <= SHORT_INSTS { UNROLL } else { 1 };
    let turn = full * unroll;
    let step = |code: &mut Code, first: u32, lanes: u32| {
        let operands: Vec<Vector> = pointers[1..]
            .iter()
            .zip(&axis.strides[1..])
            .map(|(at, stride)| read(code, *at, *stride, first, lanes))
            .collect();
        let result = evaluate(code, function, &operands);
        write(code, pointers[0], axis.strides[0], first, lanes, result);
    };
    let move_by = |code: &mut Code, elements: i64| {
        pointers
            .iter()
            .zip(&axis.strides)
            .for_each(|(pointer, stride)| code.advance(*pointer, stride * elements));
    };
    let turns = axis.len / turn;
    code.counted(turns, |code| {
        (0..unroll).for_each(|vector| step(code, vector * full, full));
        move_by(code, turn.into());
    });
    let rest = axis.len % turn;
    for first in (0..rest).step_by(full as usize) {
        step(code, first, full.min(rest - first));
    }
    move_by(code, -i64::from(turns) * i64::from(turn));
}

/// `lanes` elements from the `first` on, `stride` bytes apart.
pub(super) fn read(code: &mut Code, at: Index, stride: i64, first: u32, lanes: u32) -> Vector {
    match stride {
        4 => code.set(Expr::Load { at, offset: first * 4, lanes }),
        0 => code.set(Expr::Splat { at, offset: 0 }),
        _ => code.load_lanes(at, stride, first, lanes),
    }
}

/// Writes `lanes` elements from the `first` on, `stride` bytes apart.
pub(super) fn write(code: &mut Code, at: Index, stride: i64, first: u32, lanes: u32, vector: Vector) {
    if stride == 4 {
        code.store(at, first * 4, lanes, vector)
    } else {
        code.store_lanes(at, stride, first, lanes, vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_go_on_alike_are_merged() {
        let row_major = Layout::row_major(&[2, 3, 4]);
        let lens = |layouts: &[&Layout]| merged(layouts).iter().map(|axis| axis.len).collect::<Vec<_>>();
        assert_eq!(lens(&[&row_major, &row_major]), [24]);
        let row = Layout::row_major(&[4]).broadcast(&[2, 3, 4]);
        assert_eq!(lens(&[&row_major, &row]), [6, 4]);
        let channels_last = Layout::ordered(&[2, 3, 4], &[1, 2, 0]);
        assert_eq!(lens(&[&channels_last, &channels_last]), [24]);
        assert_eq!(lens(&[&channels_last, &row_major]), [12, 2]);
        assert_eq!(lens(&[&Layout::row_major(&[1, 1])]), [1]);
    }
}
