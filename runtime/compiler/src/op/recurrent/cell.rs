//! The formulas of the three cells, as ONNX's operator pages have them.
//!
//! In each, `s` is the share of the inputs plus the biases plus the state times the recurrent weights, for
//! the gate in its index; `.` multiplies element by element.

use super::function::Function;
use crate::emit::recurrent::{Cell, Pass, Slot};
use crate::program::{Formula, Program, operand};

/// `h' = f(s)`
pub(super) fn rnn(f: Function) -> Cell {
    let pass = Pass {
        gates: vec![0],
        started: 1,
        times: Slot::Hidden,
        reads: Vec::new(),
        results: vec![(Slot::Hidden, Program::from(&f.of(operand(0))))],
    };
    Cell { passes: vec![pass], has_cell: false }
}

/// Gates i, o, f, c in the weights, peepholes i, o, f:
/// ```text
/// i = f(s_i + p_i . c)      f = f(s_f + p_f . c), or 1 - i      c' = f . c + i . g(s_c)
/// o = f(s_o + p_o . c')     h' = o . h(c')
/// ```
/// The clip is for what the gates sum up; onnxruntime does not apply it to c' either.
pub(super) fn lstm([f, g, h]: [Function; 3], input_forget: bool, peepholes: bool) -> Cell {
    let gates: Vec<usize> = if input_forget { vec![0, 1, 3] } else { vec![0, 1, 2, 3] };
    let last = gates.len() - 1;
    let mut reads = vec![Slot::Cell];
    if peepholes {
        reads.extend((0..3).map(Slot::Constant));
    }
    let state = operand(gates.len());
    let peeped = |gate: usize, state: Formula| {
        let sum = operand(gate);
        if peepholes { sum + operand(gates.len() + 1 + gate) * state } else { sum }
    };
    let input = f.of(peeped(0, state.clone()));
    let forget =
        if input_forget { Formula::from(1.0) - input.clone() } else { f.of(peeped(2, state.clone())) };
    let next = forget * state + input * g.of(operand(last));
    // The first result is the operand behind all others.
    let state = operand(gates.len() + reads.len());
    let output = f.of(peeped(1, state.clone())) * h.unclipped().of(state);
    let results = vec![(Slot::Cell, Program::from(&next)), (Slot::Hidden, Program::from(&output))];
    let pass = Pass { started: gates.len(), gates, times: Slot::Hidden, reads, results };
    Cell { passes: vec![pass], has_cell: true }
}

/// Gates z, r, h in the weights:
/// ```text
/// z = f(s_z)      r = f(s_r)      h' = (1 - z) . g(n) + z . h
/// n = x_h + (r . h) * R_h + b_h                    where r.h must be known for all units first
/// n = x_h + b_h + r . (h * R_h + rb_h)             if the reset comes behind the product
/// ```
pub(super) fn gru([f, g]: [Function; 2], linear_before_reset: bool, bias: bool) -> Cell {
    let next = |z: Formula, n: Formula, h: Formula| (Formula::from(1.0) - z.clone()) * g.of(n) + z * h;
    if linear_before_reset {
        let mut reads = vec![Slot::Hidden];
        reads.extend(bias.then_some(Slot::Constant(0)));
        let product = if bias { operand(2) + operand(5) } else { operand(2) };
        let new = operand(3) + f.of(operand(1)) * product;
        let results = vec![(Slot::Hidden, Program::from(&next(f.of(operand(0)), new, operand(4))))];
        let pass = Pass { gates: vec![0, 1, 2], started: 2, times: Slot::Hidden, reads, results };
        return Cell { passes: vec![pass], has_cell: false };
    }
    let (update, reset) = (Slot::Between(0), Slot::Between(1));
    let first = Pass {
        gates: vec![0, 1],
        started: 2,
        times: Slot::Hidden,
        reads: vec![Slot::Hidden],
        results: vec![
            (update, Program::from(&f.of(operand(0)))),
            (reset, Program::from(&(f.of(operand(1)) * operand(2)))),
        ],
    };
    let second = Pass {
        gates: vec![2],
        started: 1,
        times: reset,
        reads: vec![update, Slot::Hidden],
        results: vec![(Slot::Hidden, Program::from(&next(operand(1), operand(0), operand(2))))],
    };
    Cell { passes: vec![first, second], has_cell: false }
}
