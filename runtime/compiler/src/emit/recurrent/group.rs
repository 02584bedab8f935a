//! One group of hidden units: all their sums in locals, then their functions.
//!
//! How Cranelift translates it decides about its speed, as `contract::tile` tells: what is loaded comes
//! first between two pins, so that there is one before every few weights; the number of h comes behind the
//! first of them, so that its load is part of the broadcast; and a weight dies in its multiplication.

use super::pack::{Groups, UNITS};
use super::{Pass, Recurrent, State};
use crate::emit::code::{Code, Pin};
use crate::emit::expr::{Expr, Index, Vector};
use crate::emit::program::evaluate;

/// Sums that hide the latency of an addition.
const SUMS: usize = 8;
/// Vectors that a processor has registers for.
const REGISTERS: usize = 16;
/// The most weights that are loaded before their multiplications.
const MOST_WEIGHTS: usize = 4;
/// Steps of the sum without a loop.
const UNROLL: u32 = 8;

/// Sums, by turn, gate and vector.
type Sums = Vec<Vec<Vec<Vector>>>;

/// The pointers that walk over the units of a pass.
struct Walk {
    x: Index,
    w: Index,
    times: Index,
    reads: Vec<Index>,
    results: Vec<Index>,
}

/// What one turn computes: at most a whole group, and without SIMD a unit.
struct Turn<'a> {
    pass: &'a Pass,
    hidden: u32,
    /// Bytes from one gate to the next.
    gate_bytes: u32,
    vectors: u32,
    /// Units in the last vector.
    last: u32,
}

impl Recurrent {
    /// One step: every pass over all units.
    pub(super) fn step(&self, code: &mut Code, state: &State, x: Index, w: Index) {
        code.scoped(|code| {
            let (x, w) = (code.copy(x), code.copy(w));
            for pass in &self.cell.passes {
                code.scoped(|code| {
                    let Some(times) = state.read(pass.times) else { return };
                    let reads = pass.reads.iter().filter_map(|slot| state.read(*slot));
                    let reads = reads.map(|at| code.copy(at)).collect();
                    let results = pass.results.iter().filter_map(|(slot, _)| state.written(*slot));
                    let results = results.map(|at| code.copy(at)).collect();
                    let walk = Walk { x, w, times, reads, results };
                    for groups in pass.groups(self.hidden) {
                        code.counted(groups.count, |code| group(code, pass, self.hidden, groups, &walk));
                    }
                });
            }
        });
    }
}

/// One group; every pointer that walks ends behind it.
fn group(code: &mut Code, pass: &Pass, hidden: u32, groups: Groups, walk: &Walk) {
    let gates = i64::try_from(pass.gates.len()).unwrap_or(0);
    let gate_bytes = groups.vectors * UNITS * 4;
    let row_bytes = gates * i64::from(gate_bytes);
    let depth_bytes = row_bytes * i64::from(hidden);
    // Without SIMD, one unit after the other.
    let (turns, vectors, last) = match code.lanes() {
        1 => ((groups.vectors - 1) * UNITS + groups.last, 1, 1),
        _ => (1, groups.vectors, groups.last),
    };
    let turn = Turn { pass, hidden, gate_bytes, vectors, last };
    let taken = i64::from(vectors * code.lanes() * 4);
    code.counted(turns, |code| {
        turn.emit(code, walk);
        code.advance(walk.w, taken - depth_bytes);
        code.advance(walk.x, taken);
        walk.reads.iter().chain(&walk.results).for_each(|at| code.advance(*at, taken));
    });
    let taken = taken * i64::from(turns);
    code.advance(walk.w, depth_bytes - taken);
    code.advance(walk.x, row_bytes - taken);
}

impl Turn<'_> {
    /// Moves only the pointer of the weights, behind those of the last k.
    fn emit(&self, code: &mut Code, walk: &Walk) {
        code.scoped(|code| {
            let sums = self.start(code, walk.x);
            code.scoped(|code| {
                let h = code.copy(walk.times);
                code.pinned(|code, pin| {
                    self.steps(code, (walk.w, h), pin, &sums, self.hidden / UNROLL, UNROLL);
                    self.steps(code, (walk.w, h), pin, &sums, 1, self.hidden % UNROLL);
                });
            });
            for vector in 0..self.vectors {
                code.scoped(|code| self.finish(code, walk, &sums, vector));
            }
        });
    }

    /// The distance of a vector of a gate from the group's first.
    fn offset(&self, code: &Code, gate: usize, vector: u32) -> u32 {
        u32::try_from(gate).unwrap_or(u32::MAX) * self.gate_bytes + vector * code.lanes() * 4
    }

    /// Where there are few sums, they take turns: step k adds to those of `k mod turns`.
    fn start(&self, code: &mut Code, x: Index) -> Sums {
        let count = self.pass.gates.len() * self.vectors as usize;
        let turns = (SUMS / count.max(1)).clamp(1, UNROLL.min(self.hidden) as usize);
        let lanes = code.lanes();
        let mut sum = |turn: usize, gate: usize, vector: u32| {
            let offset = self.offset(code, gate, vector);
            let starts = turn == 0 && gate < self.pass.started;
            code.set(if starts { Expr::Load { at: x, offset, lanes } } else { Expr::Number(0.0) })
        };
        let mut gates = |turn: usize| {
            let gates = 0..self.pass.gates.len();
            gates.map(|gate| (0..self.vectors).map(|vector| sum(turn, gate, vector)).collect()).collect()
        };
        (0..turns).map(&mut gates).collect()
    }

    /// `trips` times `steps` terms of the sums.
    fn steps(&self, code: &mut Code, (w, h): (Index, Index), pin: Pin, sums: &Sums, trips: u32, steps: u32) {
        if steps == 0 {
            return;
        }
        let row_bytes = self.offset(code, self.pass.gates.len(), 0);
        code.counted(trips, |code| {
            for (step, turn) in (0..steps).zip(sums.iter().cycle()) {
                code.scoped(|code| self.term(code, (w, step * row_bytes), (h, step * 4), pin, turn));
            }
            code.advance(h, i64::from(steps) * 4);
            code.advance(w, i64::from(steps) * i64::from(row_bytes));
        });
    }

    /// `sum[g, v] += w[g, v] * h`, some at a time, so that their weights have registers.
    fn term(&self, code: &mut Code, w: (Index, u32), h: (Index, u32), pin: Pin, sums: &[Vec<Vector>]) {
        let lanes = code.lanes();
        let mut all = Vec::new();
        for (gate, vectors) in sums.iter().enumerate() {
            all.extend((0..).zip(vectors).map(|(vector, sum)| (w.1 + self.offset(code, gate, vector), *sum)));
        }
        let mut state = None;
        for some in all.chunks(REGISTERS.saturating_sub(all.len() + 1).clamp(1, MOST_WEIGHTS)) {
            code.pin(pin, h.0);
            let weights: Vec<Vector> = some
                .iter()
                .map(|(offset, _)| code.set(Expr::Load { at: w.0, offset: *offset, lanes }))
                .collect();
            let state = *state.get_or_insert_with(|| code.set(Expr::Splat { at: h.0, offset: h.1 }));
            for (weight, (_, sum)) in weights.iter().zip(some) {
                code.assign(*sum, Expr::mul_add(*weight, state, *sum));
                code.release(*weight);
            }
        }
    }

    /// The functions of one vector of units.
    fn finish(&self, code: &mut Code, walk: &Walk, sums: &Sums, vector: u32) {
        let (lanes, first) = (code.lanes(), vector * code.lanes() * 4);
        let stored = if vector + 1 == self.vectors { self.last } else { lanes };
        let mut operands: Vec<Vector> = Vec::new();
        for gate in 0..self.pass.gates.len() {
            let turns = sums.iter().map(|turn| Expr::from(turn[gate][vector as usize]));
            operands.extend(turns.reduce(|a, b| a + b).map(|sum| code.set(sum)));
        }
        for gate in self.pass.started..self.pass.gates.len() {
            let offset = self.offset(code, gate, vector);
            operands.push(code.set(Expr::Load { at: walk.x, offset, lanes }));
        }
        for at in &walk.reads {
            operands.push(code.set(Expr::Load { at: *at, offset: first, lanes: stored }));
        }
        for ((_, program), at) in self.pass.results.iter().zip(&walk.results) {
            let result = evaluate(code, program, &operands);
            code.store(*at, first, stored, result);
            operands.push(result);
        }
    }
}
