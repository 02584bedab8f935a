//! Functions of one tensor and of two, element by element.

use super::code::Code;
use super::expr::{Expr, Index};
use super::math;
use crate::graph::{Binary, Unary, ZipAxis};

/// Vectors a turn of a loop: back edges are where a host may check its clock.
const UNROLL: u32 = 4;

/// ```text
/// for i in 0..len: y[i] = function(x[i])
/// ```
pub(super) fn map(code: &mut Code, function: Unary, len: u32, y: Index, x: Index) {
    let unroll = match function {
        Unary::Identity | Unary::Relu => UNROLL,
        Unary::Sigmoid | Unary::Tanh => 1,
    };
    code.along(len, unroll, &[y, x], |code, offset, lanes| {
        let x = code.set(Expr::Load { at: x, offset, lanes });
        let result = math::apply(code, function, x);
        code.store(y, offset, lanes, result);
    });
}

/// One operand of [`zip`].
#[derive(Clone, Copy)]
struct Operand {
    at: Index,
    /// Which side of the axes is its own.
    has: fn(&ZipAxis) -> bool,
}

impl Operand {
    /// Its elements along `axes`.
    fn elements(&self, axes: &[ZipAxis]) -> i64 {
        axes.iter().filter(|axis| (self.has)(axis)).map(|axis| i64::from(axis.len)).product()
    }
}

/// ```text
/// for each axis: y[…] = function(a[…], b[…])       an operand without the axis repeats
/// ```
pub(super) fn zip(code: &mut Code, function: Binary, axes: &[ZipAxis], [y, a, b]: [Index; 3]) {
    let a = Operand { at: a, has: |axis| axis.left };
    let b = Operand { at: b, has: |axis| axis.right };
    nest(code, function, axes, y, [a, b]);
}

/// The loops over `axes`, outermost first. Leaves every pointer behind its last element.
fn nest(code: &mut Code, function: Binary, axes: &[ZipAxis], y: Index, operands: [Operand; 2]) {
    match axes {
        [] => {}
        [inner] => innermost(code, function, inner, y, operands),
        [outer, inner @ ..] => {
            let repeating: Vec<Operand> =
                operands.into_iter().filter(|operand| !(operand.has)(outer)).collect();
            code.counted(outer.len, |code| {
                nest(code, function, inner, y, operands);
                for operand in &repeating {
                    code.advance(operand.at, -4 * operand.elements(inner));
                }
            });
            for operand in &repeating {
                code.advance(operand.at, 4 * operand.elements(inner));
            }
        }
    }
}

fn innermost(code: &mut Code, function: Binary, axis: &ZipAxis, y: Index, operands: [Operand; 2]) {
    let repeated = operands
        .map(|operand| (!(operand.has)(axis)).then(|| code.set(Expr::Splat { at: operand.at, offset: 0 })));
    let walking = operands.iter().filter(|operand| (operand.has)(axis)).map(|operand| operand.at);
    let pointers: Vec<Index> = walking.chain([y]).collect();
    code.along(axis.len, UNROLL, &pointers, |code, offset, lanes| {
        let load = |index: usize| match repeated[index] {
            Some(vector) => Expr::from(vector),
            None => Expr::Load { at: operands[index].at, offset, lanes },
        };
        let (a, b) = (load(0), load(1));
        let result = match function {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
        };
        code.store(y, offset, lanes, result);
    });
    for (operand, repeated) in operands.iter().zip(repeated) {
        if repeated.is_some() {
            code.advance(operand.at, 4);
        }
    }
}
