//! One tile: all sums of a few rows and a few columns, in locals.
//!
//! ```text
//! acc[i, v] = bias[v]                          small tiles take turns: see `Tile::sums`
//! for k.. in the outer sums                    counted
//!   for u in the inner steps                   written out: every offset is a constant
//!     for i in rows, v in vectors: acc[i, v] += w[k.. + u, v] * x[i, k.. + u]
//! y[i, v] = epilogue(acc[i, v], extras[i, v]..)
//! ```
//! A tile is tall (many rows of one vector) or wide (many vectors of one row). What Cranelift makes of it
//! decides about its speed. It lets pure operations sink to their use, while loads stay in order, so that
//! in a straight line all loads come first, and it spills; what ends a line keeps the two together:
//!
//! - **Tall** tiles put a *fence* around every few steps: `if address != 0`, which always holds. Each
//!   accumulator then has one use, the result of the `if`, so loads become operands: x is loaded and
//!   spread to all lanes by one instruction. As `relaxed_madd` becomes `vfmadd213`, which overwrites its
//!   first multiplicand, and as every x is used once, x comes first, and nothing has to be copied: two
//!   micro-operations a multiplication, the least that is possible. A load can join its use only if no
//!   other load is between them, seen from the end: so the steps of one row are loaded in reverse.
//!   A fence costs one move an accumulator, which is why it holds several steps.
//! - **Wide** tiles, for a single row, are bound by reading weights, each of which is used once. A weight
//!   dies in its multiplication and comes first. They have *pins*: branches to behind the sums that are
//!   never taken. These cost no moves, but accumulators spill if there are many.

use super::part::pieces;
use super::{Pointers, SumAxis, Tile, Weights};
use crate::emit::code::{Code, Pin};
use crate::emit::expr::{Expr, Index, Vector};
use crate::emit::program;
use crate::program::Program;

/// Vectors of a wide tile between two pins: loads wait in registers until the next one.
const VECTORS_A_PIN: u32 = 4;

/// Where a row of the tile lies, in elements from its first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) extras: Vec<i64>,
}

/// What is computed at each place of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    /// One, if there is more than one vector.
    pub(super) rows: Vec<Row>,
    pub(super) vectors: u32,
    /// Numbers in the last vector of y.
    pub(super) last_lanes: u32,
    /// At least one axis.
    pub(super) sums: Vec<SumAxis>,
    pub(super) weights: Weights,
    /// Turns, unrolling and groups.
    pub(super) tile: Tile,
    pub(super) epilogue: Program,
    /// Elements from one column of each extra to the next: 1 or 0.
    pub(super) extra_columns: Vec<i64>,
}

/// Steps of the sum that are written out one after the other.
struct Chunk {
    /// Axes outside the chunk; it takes `steps` of the next one.
    axis: usize,
    steps: u32,
    /// Offsets of x and w, in elements.
    offsets: Vec<(i64, i64)>,
}

/// One step of the sum: where it reads, in elements, and whose turn it is.
struct Step {
    x: i64,
    w: i64,
    turn: usize,
}

/// A tile while it is written: its accumulators by turn, row and vector, and where pins lead.
struct Sums<'a> {
    body: &'a Body,
    at: &'a Pointers,
    accumulators: Vec<Vec<Vec<Vector>>>,
    pin: Option<Pin>,
}

impl Body {
    /// How far the sums move x and w, in elements.
    pub(super) fn moved(&self, lanes: u32) -> (i64, i64) {
        let depth: i64 = self.sums.iter().map(|axis| i64::from(axis.len)).product();
        let (x, w) = self.sums.first().map_or((0, 0), SumAxis::span);
        match self.weights {
            Weights::Packed => (x, depth * self.width(lanes)),
            Weights::Rows => (x, w),
        }
    }

    /// Elements of packed weights in one step.
    fn width(&self, lanes: u32) -> i64 {
        i64::from(self.vectors * lanes)
    }

    /// A tile with few sums takes turns: step k adds to the accumulators `k mod turns`.
    fn turns(&self) -> u32 {
        let rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        (self.tile.sums / rows.saturating_mul(self.vectors)).max(1)
    }

    /// Writes the tile; moves x and w by [`Body::moved`].
    pub(super) fn emit(&self, code: &mut Code, at: &Pointers) {
        code.scoped(|code| {
            let accumulators = self.start(code, at.bias);
            let mut sums = Sums { body: self, at, accumulators, pin: None };
            if self.vectors == 1 {
                sums.axis(code, 0);
            } else {
                code.pinned(|code, pin| {
                    sums.pin = Some(pin);
                    sums.axis(code, 0);
                });
            }
            self.finish(code, at, &sums.accumulators);
        });
    }

    fn start(&self, code: &mut Code, bias: Option<Index>) -> Vec<Vec<Vec<Vector>>> {
        let (lanes, bytes) = (code.lanes(), code.lanes() * 4);
        let first: Vec<Vector> = (0..self.vectors)
            .map(|v| match bias {
                Some(at) => code.set(Expr::Load { at, offset: v * bytes, lanes }),
                None => code.set(0.0),
            })
            .collect();
        let depth = self.sums.iter().fold(1u32, |depth, axis| depth.saturating_mul(axis.len));
        let row = |code: &mut Code, turn: u32, row: usize| -> Vec<Vector> {
            match (turn, row) {
                (0, 0) => first.clone(),
                (0, _) => first.iter().map(|vector| code.set(*vector)).collect(),
                _ => first.iter().map(|_| code.set(0.0)).collect(),
            }
        };
        (0..self.turns().min(depth.max(1)))
            .map(|turn| (0..self.rows.len()).map(|i| row(code, turn, i)).collect())
            .collect()
    }

    /// Adds up the turns, applies the epilogue, and stores.
    fn finish(&self, code: &mut Code, at: &Pointers, accumulators: &[Vec<Vec<Vector>>]) {
        let lanes = code.lanes();
        for (i, row) in self.rows.iter().enumerate() {
            for v in 0..self.vectors {
                code.scoped(|code| {
                    let turns: Vec<Vector> = accumulators.iter().map(|turn| turn[i][v as usize]).collect();
                    let sum = if turns.len() == 1 { turns[0] } else { code.set(total(&turns)) };
                    let stored = if v + 1 == self.vectors { self.last_lanes } else { lanes };
                    let column = i64::from(v * lanes);
                    let mut operands = vec![sum];
                    for ((at, offset), step) in at.extras.iter().zip(&row.extras).zip(&self.extra_columns) {
                        operands.push(code.set(match step {
                            0 => Expr::Splat { at: *at, offset: bytes(*offset) },
                            _ => Expr::Load { at: *at, offset: bytes(offset + column), lanes: stored },
                        }));
                    }
                    let result = program::evaluate(code, &self.epilogue, &operands);
                    code.store(at.y, bytes(row.y + column), stored, result);
                });
            }
        }
    }

    /// The steps that are written out: whole axes from the inside, and a part of the next one.
    fn chunk(&self, lanes: u32) -> Chunk {
        let mut inner = 1u32;
        for (axis, SumAxis { len, .. }) in self.sums.iter().enumerate().rev() {
            let most = (self.tile.unroll / inner).max(1);
            if *len > most {
                // What divides the axis leaves no rest.
                let divides = |steps: &u32| len % steps == 0 && (steps * inner).is_multiple_of(self.turns());
                let steps = (most - most / 4..=most).rev().find(divides);
                return self.chunk_of(axis, steps.unwrap_or(most), lanes);
            }
            inner *= len.max(&1);
        }
        self.chunk_of(0, self.sums[0].len.max(1), lanes)
    }

    fn chunk_of(&self, axis: usize, steps: u32, lanes: u32) -> Chunk {
        let mut offsets: Vec<(i64, i64)> = vec![(0, 0)];
        let lens = std::iter::once(steps).chain(self.sums[axis + 1..].iter().map(|inner| inner.len));
        for (SumAxis { x, w, .. }, len) in self.sums[axis..].iter().zip(lens) {
            let steps = |(from_x, from_w): (i64, i64)| {
                (0..i64::from(len)).map(move |step| (from_x + step * x, from_w + step * w))
            };
            offsets = offsets.into_iter().flat_map(steps).collect();
        }
        if self.weights == Weights::Packed {
            (0i64..).zip(&mut offsets).for_each(|(step, offset)| offset.1 = step * self.width(lanes));
        }
        Chunk { axis, steps, offsets }
    }
}

impl Sums<'_> {
    /// The loops over the sums from `axis` on. Leaves x and w behind them.
    fn axis(&self, code: &mut Code, axis: usize) {
        let sums = &self.body.sums;
        let chunk = self.body.chunk(code.lanes());
        let len = sums[axis].len;
        if chunk.axis == axis {
            self.chunks(code, len / chunk.steps, &chunk);
            let rest = self.body.chunk_of(axis, len % chunk.steps, code.lanes());
            self.chunks(code, 1, &rest);
            return;
        }
        let inner = sums[axis + 1].span();
        code.counted(len, |code| {
            self.axis(code, axis + 1);
            code.advance(self.at.x, (sums[axis].x - inner.0) * 4);
            if self.body.weights == Weights::Rows {
                code.advance(self.at.w, (sums[axis].w - inner.1) * 4);
            }
        });
    }

    /// `trips` chunks one after the other.
    fn chunks(&self, code: &mut Code, trips: u32, chunk: &Chunk) {
        let count = u32::try_from(chunk.offsets.len()).unwrap_or(u32::MAX);
        if trips == 0 || count == 0 {
            return;
        }
        let (x, w) = (self.at.x, self.at.w);
        let (axis, steps) = (&self.body.sums[chunk.axis], i64::from(chunk.steps));
        let moved_w = match self.body.weights {
            Weights::Packed => i64::from(count) * self.body.width(code.lanes()),
            Weights::Rows => axis.w * steps,
        };
        // Offsets in instructions are not negative: the pointers move to the lowest address.
        let low_x = chunk.offsets.iter().map(|step| step.0).min().unwrap_or(0)
            + self.body.rows.iter().map(|row| row.x).min().unwrap_or(0);
        let low_w = chunk.offsets.iter().map(|step| step.1).min().unwrap_or(0);
        code.advance(x, low_x * 4);
        code.advance(w, low_w * 4);
        let step = |index: usize| Step {
            x: chunk.offsets[index].0 - low_x,
            w: chunk.offsets[index].1 - low_w,
            turn: index % self.accumulators.len(),
        };
        let steps_of: Vec<Step> = (0..chunk.offsets.len()).map(step).collect();
        code.counted(trips, |code| {
            match self.pin {
                None => self.tall(code, &steps_of),
                Some(pin) => self.wide(code, pin, &steps_of),
            }
            code.advance(x, axis.x * steps * 4);
            code.advance(w, moved_w * 4);
        });
        code.advance(x, -low_x * 4);
        code.advance(w, -low_w * 4);
    }

    /// Groups of steps in fences, as equal as possible.
    fn tall(&self, code: &mut Code, steps: &[Step]) {
        let mut rest = steps;
        for group in pieces(u32::try_from(steps.len()).unwrap_or(u32::MAX), self.body.tile.group) {
            for _ in 0..group.tiles {
                let (steps, behind) = rest.split_at(group.size as usize);
                code.fenced(self.at.x, |code| code.scoped(|code| self.group(code, steps)));
                rest = behind;
            }
        }
    }

    /// `acc[i] += x[i] * w` for some steps: every x is used once, every w by all rows.
    fn group(&self, code: &mut Code, steps: &[Step]) {
        let lanes = code.lanes();
        let load = |step: &Step| Expr::Load { at: self.at.w, offset: bytes(step.w), lanes };
        let w: Vec<Vector> = steps.iter().map(|step| code.set(load(step))).collect();
        for (i, row) in self.body.rows.iter().enumerate() {
            for (turn, accumulators) in self.accumulators.iter().enumerate() {
                let (accumulator, mine) = (accumulators[i][0], steps.iter().zip(&w));
                let mine: Vec<(&Step, &Vector)> = mine.filter(|(step, _)| step.turn == turn).collect();
                code.scoped(|code| {
                    let splat = |step: &Step| Expr::Splat { at: self.at.x, offset: bytes(step.x + row.x) };
                    let x: Vec<Vector> = mine.iter().rev().map(|(step, _)| code.set(splat(step))).collect();
                    for ((_, w), x) in mine.into_iter().zip(x.into_iter().rev()) {
                        code.assign(accumulator, Expr::mul_add(x, *w, accumulator));
                    }
                });
            }
        }
    }

    /// `acc[v] += w[v] * x` for some steps: every w is used once, every x by all vectors.
    fn wide(&self, code: &mut Code, pin: Pin, steps: &[Step]) {
        let lanes = code.lanes();
        for (index, step) in steps.iter().enumerate() {
            code.scoped(|code| {
                if index > 0 {
                    code.pin(pin, self.at.x);
                }
                let x = code.set(Expr::Splat { at: self.at.x, offset: bytes(step.x) });
                for v in 0..self.body.vectors {
                    if v > 0 && v.is_multiple_of(VECTORS_A_PIN) {
                        code.pin(pin, self.at.x);
                    }
                    let offset = bytes(step.w + i64::from(v * lanes));
                    let w = Expr::Load { at: self.at.w, offset, lanes };
                    let accumulator = self.accumulators[step.turn][0][v as usize];
                    code.assign(accumulator, Expr::mul_add(w, x, accumulator));
                }
            });
        }
    }
}

/// Elements as an offset of an instruction; they are neither negative nor many.
fn bytes(elements: i64) -> u32 {
    u32::try_from(elements * 4).unwrap_or(u32::MAX)
}

/// The sum of the vectors, in pairs.
fn total(vectors: &[Vector]) -> Expr {
    match vectors {
        [] => Expr::Number(0.0),
        [only] => (*only).into(),
        _ => {
            let (left, right) = vectors.split_at(vectors.len() / 2);
            total(left) + total(right)
        }
    }
}
