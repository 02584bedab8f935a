//! Softmax along one axis.
//!
//! ```text
//! for o in outer, j in inner
//!   m = max over i of x[o, i, j]
//!   y[o, i, j] = exp(x[o, i, j] - m)
//!   s = sum over i of y[o, i, j]
//!   y[o, i, j] = y[o, i, j] / s
//! ```
//! Along the last axis the lanes of a vector are neighbours i, and are reduced at the end; along any
//! other axis they are neighbours j.

use super::code::Code;
use super::expr::{Expr, Index, Vector};
use super::math;

/// Writes the kernel.
pub(super) fn emit(code: &mut Code, (outer, len, inner): (u32, u32, u32), y: Index, x: Index) {
    if inner == 1 {
        code.counted(outer, |code| last_axis(code, len, y, x));
    } else {
        code.counted(outer, |code| inner_axis(code, len, inner, y, x));
    }
}

/// One row of `len` neighbours; leaves both pointers behind it.
fn last_axis(code: &mut Code, len: u32, y: Index, x: Index) {
    let (row, full) = (i64::from(len) * 4, code.lanes());
    let max = code.set(f32::NEG_INFINITY);
    code.along(len, 1, &[x], |code, offset, lanes| {
        let loaded = Expr::Load { at: x, offset, lanes };
        // Lanes behind the end must not win: 0 + -inf.
        let edge = Expr::Edge { lanes, first: 0, rest: f32::NEG_INFINITY.to_bits() };
        let numbers = if lanes == full { loaded } else { loaded + edge };
        code.assign(max, Expr::from(max).at_least(numbers));
    });
    code.advance(x, -row);
    across(code, max, Expr::at_least);
    let sum = code.set(0.0);
    code.along(len, 1, &[x, y], |code, offset, lanes| {
        let distance = code.set(Expr::Load { at: x, offset, lanes } - max);
        let exp = math::exp(code, distance);
        let exp = code.set(exp);
        code.store(y, offset, lanes, exp);
        let counted =
            Expr::And(Box::new(exp.into()), Box::new(Expr::Edge { lanes, first: u32::MAX, rest: 0 }));
        code.assign(sum, if lanes == full { sum + exp } else { sum + counted });
    });
    code.advance(y, -row);
    across(code, sum, |a, b| a + b);
    code.along(len, 1, &[y], |code, offset, lanes| {
        code.store(y, offset, lanes, Expr::Load { at: y, offset, lanes } / sum);
    });
}

/// Reduces the lanes of a vector; every lane gets the result.
fn across(code: &mut Code, vector: Vector, reduce: fn(Expr, Expr) -> Expr) {
    if code.lanes() == 1 {
        return;
    }
    for order in [[2, 3, 0, 1], [1, 0, 3, 2]] {
        let other = Expr::Shuffle(Box::new(vector.into()), order);
        code.assign(vector, reduce(vector.into(), other));
    }
}

/// `inner` columns of `len` numbers, a vector of columns at a time; leaves both pointers behind them.
fn inner_axis(code: &mut Code, len: u32, inner: u32, y: Index, x: Index) {
    let step = i64::from(inner) * 4;
    let column = step * i64::from(len);
    code.along(inner, 1, &[x, y], |code, offset, lanes| {
        let (from, to) = (code.copy(x), code.copy(y));
        let max = code.set(f32::NEG_INFINITY);
        code.counted(len, |code| {
            code.assign(max, Expr::from(max).at_least(Expr::Load { at: from, offset, lanes }));
            code.advance(from, step);
        });
        code.advance(from, -column);
        let sum = code.set(0.0);
        code.counted(len, |code| {
            let distance = code.set(Expr::Load { at: from, offset, lanes } - max);
            let exp = math::exp(code, distance);
            let exp = code.set(exp);
            code.store(to, offset, lanes, exp);
            code.assign(sum, sum + exp);
            code.advance(from, step);
            code.advance(to, step);
        });
        code.advance(to, -column);
        code.counted(len, |code| {
            code.store(to, offset, lanes, Expr::Load { at: to, offset, lanes } / sum);
            code.advance(to, step);
        });
    });
    // The walk over the first row ends where the second begins; the block ends behind the last.
    code.advance(x, column - step);
    code.advance(y, column - step);
}
