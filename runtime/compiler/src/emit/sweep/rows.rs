//! Sweeps along x's innermost axis: the lanes of a vector belong to one row, and are combined at its end.
//!
//! ```text
//! for each row
//!   for each fold
//!     acc[v] = neutral
//!     for the swept axes, four lanes and some vectors v at a time: acc[v] = combine(acc[v], of(x[…]))
//!     r = then(all of acc)
//!   y = r, or the map along the swept axes
//! ```

use super::{Combine, Fold, Job, X, Y, shared, vectors_a_turn};
use crate::emit::code::Code;
use crate::emit::expr::{Expr, Index, Vector};
use crate::emit::pointwise::{Axis, nest, read, write};
use crate::emit::program::evaluate;
use crate::program::Program;

pub(super) fn emit(code: &mut Code, job: &Job<'_>) {
    let tensors: Vec<usize> = (0..job.pointers.len()).collect();
    nest(code, &job.axes(false, &tensors), &job.pointers, &mut |code| code.scoped(|code| row(code, job)));
}

fn row(code: &mut Code, job: &Job<'_>) {
    let (mut results, mut source) = (Vec::new(), X);
    for fold in &job.sweep.folds {
        let result = self::fold(code, job, fold, source, &results);
        results.push(result);
        source = if fold.keep { Y } else { source };
    }
    match (&job.sweep.map, results.last()) {
        (Some(map), _) => self::map(code, job, map, source, &results),
        (None, Some(result)) => code.store(job.pointers[Y], 0, 1, *result),
        (None, None) => {}
    }
}

/// One fold of a row; every lane of the result is the same.
fn fold(code: &mut Code, job: &Job<'_>, fold: &Fold, source: usize, results: &[Vector]) -> Vector {
    let walk = job.walk(&[source, if fold.keep { Y } else { source }]);
    let Some((inner, outer)) = walk.axes.split_last() else { return code.set(fold.combine.neutral()) };
    let (fixed, of) = fold.of.hoisted(results.len() + 1, |place| place == 0);
    let count = vectors_a_turn(&of, inner.len / code.lanes());
    let sums: Vec<Vector> = (0..count).map(|_| code.set(fold.combine.neutral())).collect();
    let mut operands = shared(code, &fixed, sums[0], results);
    nest(code, outer, &walk.pointers, &mut |code| {
        along(code, inner, &walk.pointers, count, &mut |code, vector, first, lanes| {
            let (at, stride) = walk.step(source, inner);
            operands[0] = read(code, at, stride, first, lanes);
            let number = evaluate(code, &of, &operands);
            if fold.keep {
                let (at, stride) = walk.step(Y, inner);
                write(code, at, stride, first, lanes, number);
            }
            let number = within(code, number, lanes, fold.combine);
            fold.combine.add(code, sums[vector], number);
        });
    });
    for sum in &sums[1..] {
        fold.combine.add(code, sums[0], *sum);
    }
    across(code, sums[0], fold.combine);
    evaluate(code, &fold.then, &[&sums[..1], results].concat())
}

/// The map along a row.
fn map(code: &mut Code, job: &Job<'_>, map: &Program, source: usize, results: &[Vector]) {
    let (fixed, map) = job.map(map);
    let (extras, varying) = job.extras();
    let mut others = results.to_vec();
    for extra in &extras {
        // What is the same all along the row is read once.
        let same = !varying.contains(extra);
        others.push(if same {
            code.set(Expr::Splat { at: job.pointers[*extra], offset: 0 })
        } else {
            results[0]
        });
    }
    let mut operands = shared(code, &fixed, results[0], &others);
    let walk = job.walk(&[&[source, Y], varying.as_slice()].concat());
    let Some((inner, outer)) = walk.axes.split_last() else { return };
    let count = vectors_a_turn(&map, inner.len / code.lanes());
    nest(code, outer, &walk.pointers, &mut |code| {
        along(code, inner, &walk.pointers, count, &mut |code, _, first, lanes| {
            let (at, stride) = walk.step(source, inner);
            operands[0] = read(code, at, stride, first, lanes);
            for extra in &varying {
                let (at, stride) = walk.step(*extra, inner);
                operands[extra - 1 + results.len()] = read(code, at, stride, first, lanes);
            }
            let number = evaluate(code, &map, &operands);
            let (at, stride) = walk.step(Y, inner);
            write(code, at, stride, first, lanes, number);
        });
    });
}

/// Runs `step(vector of the turn, first element, lanes)` along an axis; leaves the pointers where they were.
fn along(
    code: &mut Code,
    axis: &Axis,
    pointers: &[Index],
    vectors: u32,
    step: &mut dyn FnMut(&mut Code, usize, u32, u32),
) {
    let full = code.lanes();
    let turn = full * vectors;
    let move_by = |code: &mut Code, elements: i64| {
        pointers.iter().zip(&axis.strides).for_each(|(at, stride)| code.advance(*at, stride * elements));
    };
    let turns = axis.len / turn;
    code.counted(turns, |code| {
        for vector in 0..vectors {
            code.scoped(|code| step(code, vector as usize, vector * full, full));
        }
        move_by(code, turn.into());
    });
    let rest = axis.len % turn;
    for first in (0..rest).step_by(full as usize) {
        code.scoped(|code| step(code, (first / full) as usize, first, full.min(rest - first)));
    }
    move_by(code, -i64::from(turns) * i64::from(turn));
}

/// The number, neutral in the lanes behind the end of a row.
fn within(code: &mut Code, number: Vector, lanes: u32, combine: Combine) -> Vector {
    if lanes == code.lanes() {
        return number;
    }
    let behind = Expr::Edge { lanes, first: 0f32.to_bits(), rest: 1f32.to_bits() };
    code.set(Expr::if_less(behind, 0.5, number, combine.neutral()))
}

/// Combines the lanes of a vector; every lane gets the result.
fn across(code: &mut Code, vector: Vector, combine: Combine) {
    if code.lanes() == 1 {
        return;
    }
    for order in [[2, 3, 0, 1], [1, 0, 3, 2]] {
        code.scoped(|code| {
            let other = code.set(Expr::Shuffle(Box::new(vector.into()), order));
            combine.add(code, vector, other);
        });
    }
}
