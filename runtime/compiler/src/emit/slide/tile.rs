//! One tile: all places of a few vectors of channels, in locals.
//!
//! With few taps along the row, every vector of x is loaded once for all places that see it:
//!
//! ```text
//! for t in taps across                          written out, or counted
//!   w[k] = the weights of this row of taps
//!   for c in columns that any place sees        written out
//!     x = load
//!     for each place p and tap k that meet in c: acc[p] = fold(acc[p], x, w[k])
//! ```
//! With many, each tap is a step of a loop, and loads x for every place. Pins keep what was loaded next to
//! its use: without them Cranelift would load everything first, and spill.

use super::plan::MAX_SHARED_TAPS;
use super::{Fold, Walk, Walks};
use crate::emit::code::{Code, Pin};
use crate::emit::expr::{Expr, Index, Vector};
use crate::emit::program;
use crate::graph::Window;
use crate::program::Program;

/// Folds that are written out before there is a loop.
const MAX_WRITTEN: u32 = 80;
/// Folds between two pins.
const A_PIN: u32 = 8;
/// Offsets in instructions stay below this many elements, far from the guard region behind a memory.
const MAX_OFFSET: i64 = 1 << 20;

/// What is computed for each block of channels and some places along a row.
pub(super) struct Tile<'a> {
    pub(super) places: u32,
    pub(super) vectors: u32,
    /// Numbers in the last vector.
    pub(super) last_lanes: u32,
    pub(super) along: Window,
    pub(super) across: Option<Window>,
    pub(super) fold: Fold,
    pub(super) epilogue: &'a Program,
}

/// A tile while it is written.
struct Sums<'a> {
    tile: &'a Tile<'a>,
    x: Index,
    w: Option<Index>,
    /// From one tap to the next, and from one place to the next, in elements.
    tap: i64,
    place: i64,
    /// By place and vector.
    accumulators: Vec<Vec<Vector>>,
    pin: Pin,
}

impl Tile<'_> {
    /// Writes the tile; leaves the pointers where they were. `axes` are those of the channels and of the row.
    pub(super) fn emit(&self, code: &mut Code, walks: &Walks, (channel, along): (usize, usize)) {
        code.scoped(|code| {
            let accumulators = self.start(code, walks.bias);
            let place = walks.x.strides[along];
            let tap = place / i64::from(self.along.stride) * i64::from(self.along.dilation);
            code.pinned(|code, pin| {
                let (x, w) = (walks.x.at, walks.w);
                let sums = Sums { tile: self, x, w, tap, place, accumulators: accumulators.clone(), pin };
                let across = self.across.map(|window| {
                    let row = walks.x.strides[along - 1];
                    (window.size, row / i64::from(window.stride) * i64::from(window.dilation))
                });
                // Offsets in instructions are not negative: x moves to the lowest address.
                let low = sums.low_place() + sums.low_tap();
                code.advance(x, low * 4);
                sums.rows(code, across.unwrap_or((1, 0)));
                code.advance(x, -low * 4);
            });
            self.finish(code, walks, &accumulators, (channel, along));
        });
    }

    fn start(&self, code: &mut Code, bias: Option<Index>) -> Vec<Vec<Vector>> {
        let (lanes, bytes) = (code.lanes(), code.lanes() * 4);
        let first: Vec<Vector> = (0..self.vectors)
            .map(|v| match (bias, self.fold) {
                (Some(at), _) => code.set(Expr::Load { at, offset: v * bytes, lanes }),
                (None, Fold::Max) => code.set(f32::NEG_INFINITY),
                (None, Fold::Weighted { .. } | Fold::Sum) => code.set(0.0),
            })
            .collect();
        let mut all = vec![first.clone()];
        all.extend((1..self.places).map(|_| first.iter().map(|vector| code.set(*vector)).collect()));
        all
    }

    /// Numbers in vector `v`.
    fn lanes(&self, code: &Code, v: u32) -> u32 {
        if v + 1 == self.vectors { self.last_lanes } else { code.lanes() }
    }

    /// Applies the epilogue, and stores.
    fn finish(&self, code: &mut Code, walks: &Walks, sums: &[Vec<Vector>], (channel, along): (usize, usize)) {
        let full = code.lanes();
        for (p, sums) in (0i64..).zip(sums) {
            for (v, sum) in (0u32..).zip(sums) {
                let lanes = self.lanes(code, v);
                code.scoped(|code| {
                    let mut operands = vec![*sum];
                    for Walk { at, strides } in &walks.extras {
                        let (row, column) = (strides[along] * p * 4, strides[channel]);
                        let first = v * full;
                        operands.push(match (column, u32::try_from(row)) {
                            (0, Ok(offset)) => code.set(Expr::Splat { at: *at, offset }),
                            (1, Ok(offset)) => {
                                code.set(Expr::Load { at: *at, offset: offset + first * 4, lanes })
                            }
                            _ => {
                                let moved = code.copy(*at);
                                code.advance(moved, row);
                                match column {
                                    0 => code.set(Expr::Splat { at: moved, offset: 0 }),
                                    _ => code.load_lanes(moved, column * 4, first, lanes),
                                }
                            }
                        });
                    }
                    let result = program::evaluate(code, self.epilogue, &operands);
                    let Walk { at, strides } = &walks.y;
                    let (row, column) = (strides[along] * p * 4, strides[channel]);
                    match (column, u32::try_from(row)) {
                        (1, Ok(offset)) => code.store(*at, offset + v * full * 4, lanes, result),
                        _ => {
                            let moved = code.copy(*at);
                            code.advance(moved, row);
                            code.store_lanes(moved, column * 4, v * full, lanes, result);
                        }
                    }
                });
            }
        }
    }
}

impl Sums<'_> {
    /// All rows of taps, `row` elements apart; leaves the pointers where they were.
    fn rows(&self, code: &mut Code, (rows, row): (u32, i64)) {
        let tile = self.tile;
        let columns = tile.along.size;
        let folds = columns.saturating_mul(tile.places * tile.vectors);
        let width = i64::from(columns * tile.vectors * code.lanes());
        let reach = row.abs() * i64::from(rows) + self.reach();
        let written = folds.saturating_mul(rows) <= MAX_WRITTEN && row >= 0 && reach <= MAX_OFFSET;
        let shared = columns <= MAX_SHARED_TAPS && folds <= 2 * MAX_WRITTEN && self.reach() <= MAX_OFFSET;
        if written && shared {
            for index in 0..i64::from(rows) {
                self.columns(code, index * row, index * width);
            }
            return;
        }
        code.counted(rows, |code| {
            if shared {
                self.columns(code, 0, 0);
                self.advance_w(code, width);
            } else {
                self.taps(code);
            }
            code.advance(self.x, row * 4);
        });
        code.advance(self.x, -row * i64::from(rows) * 4);
        self.advance_w(code, -width * i64::from(rows));
    }

    /// Elements from the lowest to the highest that one row of taps reads.
    fn reach(&self) -> i64 {
        let along = &self.tile.along;
        self.place.abs() * i64::from(self.tile.places) + self.tap.abs() * i64::from(along.size)
    }

    fn advance_w(&self, code: &mut Code, elements: i64) {
        if let Some(w) = self.w {
            code.advance(w, elements * 4);
        }
    }

    /// How far the lowest address that a place reads is from that of the first place.
    fn low_place(&self) -> i64 {
        self.place.min(0) * i64::from(self.tile.places - 1)
    }

    /// The same for taps.
    fn low_tap(&self) -> i64 {
        self.tap.min(0) * i64::from(self.tile.along.size - 1)
    }

    /// The distance of a tap at a place from the lowest address.
    fn offset(&self, place: u32, tap: u32) -> i64 {
        self.place * i64::from(place) + self.tap * i64::from(tap) - self.low_place() - self.low_tap()
    }

    /// One row of taps, every vector of x loaded once.
    fn columns(&self, code: &mut Code, x: i64, w: i64) {
        let tile = self.tile;
        code.scoped(|code| {
            let full = code.lanes();
            code.pin(self.pin, self.x);
            let weights: Vec<Vec<Vector>> = (0..tile.along.size)
                .map(|k| {
                    (0..tile.vectors).filter_map(|v| self.weight(code, w, k * tile.vectors + v)).collect()
                })
                .collect();
            let mut meetings: Vec<(i64, u32, u32)> = (0..tile.places)
                .flat_map(|p| (0..tile.along.size).map(move |k| (p, k)))
                .map(|(p, k)| (self.offset(p, k), p, k))
                .collect();
            meetings.sort_unstable();
            let mut pending = 0;
            for column in meetings.chunk_by(|a, b| a.0 == b.0) {
                if pending >= A_PIN {
                    code.pin(self.pin, self.x);
                    pending = 0;
                }
                for v in 0..tile.vectors {
                    let lanes = tile.lanes(code, v);
                    let offset = bytes(x + column[0].0 + i64::from(v * full));
                    code.scoped(|code| {
                        let x = code.set(Expr::Load { at: self.x, offset, lanes });
                        for (_, p, k) in column {
                            let weight = weights[*k as usize].get(v as usize).copied();
                            self.fold(code, self.accumulators[*p as usize][v as usize], x, weight);
                            pending += 1;
                        }
                    });
                }
            }
        });
    }

    /// One row of taps, one after the other; leaves w behind them and x where it was.
    fn taps(&self, code: &mut Code) {
        let tile = self.tile;
        let near = self.place.abs() * i64::from(tile.places) <= MAX_OFFSET;
        let first = -self.low_tap();
        code.advance(self.x, first * 4);
        code.counted(tile.along.size, |code| {
            code.scoped(|code| {
                let full = code.lanes();
                code.pin(self.pin, self.x);
                let weights: Vec<Vector> =
                    (0..tile.vectors).filter_map(|v| self.weight(code, 0, v)).collect();
                for (p, v) in (0..tile.places).flat_map(|p| (0..tile.vectors).map(move |v| (p, v))) {
                    let place = self.place * i64::from(p) - self.low_place();
                    code.scoped(|code| {
                        let (at, offset) = if near {
                            (self.x, bytes(place))
                        } else {
                            let moved = code.copy(self.x);
                            code.advance(moved, place * 4);
                            (moved, 0)
                        };
                        let lanes = tile.lanes(code, v);
                        let x = code.set(Expr::Load { at, offset: offset + v * full * 4, lanes });
                        let weight = weights.get(v as usize).copied();
                        self.fold(code, self.accumulators[p as usize][v as usize], x, weight);
                    });
                }
            });
            code.advance(self.x, self.tap * 4);
            self.advance_w(code, i64::from(tile.vectors * code.lanes()));
        });
        code.advance(self.x, -(first + self.tap * i64::from(tile.along.size)) * 4);
    }

    /// Vector `index` of the weights from `w` on.
    fn weight(&self, code: &mut Code, w: i64, index: u32) -> Option<Vector> {
        let lanes = code.lanes();
        let at = self.w?;
        Some(code.set(Expr::Load { at, offset: bytes(w + i64::from(index * lanes)), lanes }))
    }

    fn fold(&self, code: &mut Code, accumulator: Vector, x: Vector, weight: Option<Vector>) {
        code.assign(
            accumulator,
            match (self.tile.fold, weight) {
                (Fold::Weighted { .. }, Some(weight)) => Expr::mul_add(x, weight, accumulator),
                (Fold::Weighted { .. }, None) | (Fold::Sum, _) => accumulator + x,
                (Fold::Max, _) => Expr::from(accumulator).at_least(x),
            },
        );
    }
}

/// Elements as an offset of an instruction; they are neither negative nor many.
fn bytes(elements: i64) -> u32 {
    u32::try_from(elements * 4).unwrap_or(u32::MAX)
}
