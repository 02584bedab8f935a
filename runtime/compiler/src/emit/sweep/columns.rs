//! Sweeps across x's innermost axis, which is kept: each lane of a vector has a fold of its own.
//!
//! ```text
//! for the kept axes, the innermost in blocks of some vectors v
//!   for each fold
//!     acc[v] = neutral
//!     for the swept axes, for each v: acc[v] = combine(acc[v], of(x[…, v]))
//!     r[v] = then(acc[v])
//!   for each v: y[v] = r[v], or the map over the swept axes
//! ```

use super::{Fold, Job, X, Y, shared, vectors_a_turn};
use crate::emit::code::Code;
use crate::emit::expr::Vector;
use crate::emit::pointwise::{Axis, nest, read, write};
use crate::emit::program::evaluate;
use crate::program::Program;

/// Neighbours along the innermost axis: the first, and how many.
type Lanes = (u32, u32);

pub(super) fn emit(code: &mut Code, job: &Job<'_>) {
    let tensors: Vec<usize> = (0..job.pointers.len()).collect();
    let axes = job.axes(false, &tensors);
    let Some((lane, outer)) = axes.split_last() else { return };
    let full = code.lanes();
    let programs = job.sweep.folds.iter().map(|fold| &fold.of).chain(&job.sweep.map);
    let vectors = programs.map(|program| vectors_a_turn(program, lane.len / full)).min().unwrap_or(1);
    let turn = full * vectors;
    let move_by = |code: &mut Code, elements: i64| {
        job.pointers.iter().zip(&lane.strides).for_each(|(at, stride)| code.advance(*at, stride * elements));
    };
    nest(code, outer, &job.pointers, &mut |code| {
        let turns = lane.len / turn;
        code.counted(turns, |code| {
            block(code, job, lane, &(0..vectors).map(|vector| (vector * full, full)).collect::<Vec<_>>());
            move_by(code, turn.into());
        });
        let rest = lane.len % turn;
        let vectors = (0..rest).step_by(full as usize).map(|first| (first, full.min(rest - first)));
        block(code, job, lane, &vectors.collect::<Vec<_>>());
        move_by(code, -i64::from(turns) * i64::from(turn));
    });
}

fn block(code: &mut Code, job: &Job<'_>, lane: &Axis, vectors: &[Lanes]) {
    if vectors.is_empty() {
        return;
    }
    code.scoped(|code| {
        let mut results: Vec<Vec<Vector>> = vec![Vec::new(); vectors.len()];
        let mut source = X;
        for fold in &job.sweep.folds {
            self::fold(code, job, lane, vectors, fold, source, &mut results);
            source = if fold.keep { Y } else { source };
        }
        match &job.sweep.map {
            Some(map) => self::map(code, job, lane, vectors, map, source, &results),
            None => {
                for ((first, lanes), results) in vectors.iter().zip(&results) {
                    let Some(result) = results.last() else { continue };
                    write(code, job.pointers[Y], lane.strides[Y], *first, *lanes, *result);
                }
            }
        }
    });
}

/// One fold; adds its result to those of each vector.
fn fold(
    code: &mut Code,
    job: &Job<'_>,
    lane: &Axis,
    vectors: &[Lanes],
    fold: &Fold,
    source: usize,
    results: &mut [Vec<Vector>],
) {
    let walk = job.walk(&[source, if fold.keep { Y } else { source }]);
    let (fixed, of) = fold.of.hoisted(results[0].len() + 1, |place| place == 0);
    let sums: Vec<Vector> = vectors.iter().map(|_| code.set(fold.combine.neutral())).collect();
    let mut operands: Vec<Vec<Vector>> = Vec::with_capacity(vectors.len());
    for (sum, results) in sums.iter().zip(&*results) {
        operands.push(shared(code, &fixed, *sum, results));
    }
    nest(code, &walk.axes, &walk.pointers, &mut |code| {
        for (((first, lanes), sum), operands) in vectors.iter().zip(&sums).zip(&mut operands) {
            code.scoped(|code| {
                operands[0] = read(code, job.pointers[source], lane.strides[source], *first, *lanes);
                let number = evaluate(code, &of, operands);
                if fold.keep {
                    write(code, job.pointers[Y], lane.strides[Y], *first, *lanes, number);
                }
                fold.combine.add(code, *sum, number);
            });
        }
    });
    for (sum, results) in sums.iter().zip(results) {
        let result = evaluate(code, &fold.then, &[&[*sum], results.as_slice()].concat());
        results.push(result);
    }
}

/// The map over the swept axes.
fn map(
    code: &mut Code,
    job: &Job<'_>,
    lane: &Axis,
    vectors: &[Lanes],
    map: &Program,
    source: usize,
    results: &[Vec<Vector>],
) {
    let (fixed, map) = job.map(map);
    let folds = job.sweep.folds.len();
    let (extras, varying) = job.extras();
    let mut operands: Vec<Vec<Vector>> = Vec::with_capacity(vectors.len());
    for ((first, lanes), results) in vectors.iter().zip(results) {
        let mut others = results.clone();
        for extra in &extras {
            // What is the same for the whole sweep is read once.
            let same = !varying.contains(extra);
            others.push(if same {
                read(code, job.pointers[*extra], lane.strides[*extra], *first, *lanes)
            } else {
                results[0]
            });
        }
        operands.push(shared(code, &fixed, results[0], &others));
    }
    let walk = job.walk(&[&[source, Y], varying.as_slice()].concat());
    nest(code, &walk.axes, &walk.pointers, &mut |code| {
        for ((first, lanes), operands) in vectors.iter().zip(&mut operands) {
            code.scoped(|code| {
                let mut at =
                    |tensor: usize| read(code, job.pointers[tensor], lane.strides[tensor], *first, *lanes);
                operands[0] = at(source);
                for extra in &varying {
                    operands[extra - 1 + folds] = at(*extra);
                }
                let number = evaluate(code, &map, operands);
                write(code, job.pointers[Y], lane.strides[Y], *first, *lanes, number);
            });
        }
    });
}
