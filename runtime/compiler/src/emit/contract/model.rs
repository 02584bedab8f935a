//! Which tile a contract gets: a pure function of its shape, in integers, so that every host chooses the
//! same.
//!
//! For each candidate the cost is estimated in 1/24 of a cycle of a core that starts two additions a
//! cycle, finishes them after four, and issues [`ISSUE`] operations a cycle:
//!
//! ```text
//! cost = sum over tiles of  steps * max(additions, latency, operations) + beginning and end
//! ```
//! `examples/tile_sweep.rs` measures what is chosen against all candidates, on shapes that the constants
//! were fitted to and on others.

use super::part::{columns, pieces};
use super::{Contract, RowAxis, Weights};
use crate::emit::code::Code;
use crate::emit::program;
use dunlin_abi::Simd;

/// The tile of a contract, and the order of the loops around it. A tile has one row or one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Rows along the last row axis, at most.
    pub rows: u32,
    /// Rows along the axis before, at most.
    pub across: u32,
    /// Vectors of columns, at most.
    pub vectors: u32,
    /// Accumulators: where rows and vectors are fewer, they take turns, so that additions overlap.
    pub sums: u32,
    /// Steps of the sum without a loop, at most.
    pub unroll: u32,
    /// Steps of the sum between two fences, at most.
    pub group: u32,
    /// Row axes outside the loop over blocks of columns, not counting those with weights of their own.
    pub outside: usize,
}

/// Offsets in instructions stay below this many elements, far from the guard region behind a memory.
const MAX_OFFSET: u64 = 1 << 20;
/// Bytes of the epilogues of one tile: a function has 16 KiB, and the sums need some.
const MAX_EPILOGUE: usize = 9 << 10;
/// Rows of a tall tile: with the weights of a group and one x they fill 16 registers.
const MAX_ROWS: u32 = 12;
/// Registers for vectors on x86-64.
const REGISTERS: u32 = 16;
/// Wide tiles of 2 to 8 vectors: what one vector of one step costs, accumulators, steps without a loop.
const WIDE: [(u64, u32, u32); 7] =
    [(17, 8, 8), (16, 9, 6), (14, 8, 8), (20, 10, 4), (19, 6, 4), (17, 7, 4), (19, 8, 4)];
/// Weights that do not stay in the second cache are read once, and x often.
const MAX_WEIGHTS: u64 = 1 << 17;

/// One cycle.
const CYCLE: u64 = 24;
/// Micro-operations a cycle.
const ISSUE: u64 = 6;
/// The beginning and the end of a tile: addresses, the first loads, the last additions.
const TILE: u64 = 20 * CYCLE;
/// One accumulator of it.
const ACCUMULATOR: u64 = CYCLE;
/// A call.
const PART: u64 = 12 * CYCLE;

/// The tile for a normalised contract. If its weights are to lie in certain blocks, one that reads them
/// so, unless there is none.
pub(super) fn choose(shape: &Contract, lanes: u32) -> Tile {
    let mut candidates = candidates(shape, lanes);
    let wanted = shape.block.map(|block| columns(shape.columns, lanes, block.div_ceil(lanes)));
    let fits = |tile: &Tile| Some(columns(shape.columns, lanes, tile.vectors)) == wanted;
    if candidates.iter().any(fits) {
        candidates.retain(fits);
    }
    let best = candidates.iter().min_by_key(|tile| cost(shape, lanes, tile));
    best.copied().unwrap_or(Tile { rows: 1, across: 1, vectors: 1, sums: 8, unroll: 1, group: 1, outside: 0 })
}

/// All tiles that are worth a thought.
pub(super) fn candidates(shape: &Contract, lanes: u32) -> Vec<Tile> {
    let shared = shape.shared();
    let epilogues = u32::try_from(MAX_EPILOGUE / epilogue_bytes(shape).max(1)).unwrap_or(u32::MAX);
    let extent = |back: usize| -> u32 {
        let Some(axis) = shared.len().checked_sub(back) else { return 1 };
        let fits = MAX_OFFSET / reach(shape, shape.rows.len() - back).max(1) + 1;
        shared[axis].len.min(u32::try_from(fits).unwrap_or(u32::MAX))
    };
    let step =
        shape.sums.iter().map(|axis| axis.x.unsigned_abs().max(axis.w.unsigned_abs())).max().unwrap_or(0);
    let unroll = |most: u32| if step * u64::from(most) <= MAX_OFFSET { most } else { 1 };
    let weights = shape.depth() * u64::from(shape.columns);
    let outside = if weights > MAX_WEIGHTS && shape.weights == Weights::Packed { 0 } else { shared.len() };
    let mut tiles = Vec::new();
    for across in 1..=extent(2).min(MAX_ROWS) {
        for rows in 1..=extent(1).min(MAX_ROWS / across) {
            let count = rows * across;
            for turns in (1..=MAX_ROWS / count).filter(|turns| MAX_ROWS.is_multiple_of(*turns)) {
                let sums = count * turns;
                if count <= epilogues && (sums >= 8 || count > MAX_ROWS / 2) {
                    let group = group(shape, [across, rows], turns);
                    let unroll = unroll(steps(group, turns));
                    tiles.push(Tile { rows, across, vectors: 1, sums, unroll, group, outside });
                }
            }
        }
    }
    let all = shape.columns.div_ceil(lanes);
    for (vectors, (_, sums, steps)) in (2u32..).zip(WIDE) {
        // Where no block is that wide, the constants are made for others.
        let there = pieces(all, vectors).first().is_some_and(|widest| widest.size == vectors);
        if there && vectors <= epilogues {
            tiles.push(Tile { rows: 1, across: 1, vectors, sums, unroll: unroll(steps), group: 1, outside });
        }
    }
    tiles
}

/// The steps between two fences of a tall tile: as many as there are registers for, but none that read
/// one address for two rows, since those would be loaded once and kept.
fn group(shape: &Contract, [across, rows]: [u32; 2], turns: u32) -> u32 {
    let strides = shape.shared().iter().rev().map(|axis| axis.x).zip([rows, across]);
    let step = shape.sums.last().map_or(0, |axis| axis.x);
    let meets = |steps: u32| {
        let mut pairs =
            strides.clone().flat_map(|(stride, len)| (1..i64::from(len)).map(move |n| n * stride));
        pairs.any(|distance| distance != 0 && distance.abs() == (step * i64::from(steps)).abs())
    };
    let sums = across * rows * turns;
    let fits = |steps: &u32| sums + steps + steps.div_ceil(turns) <= REGISTERS && !(1..*steps).any(meets);
    // Without turns the steps of a row wait for one another.
    let most = if turns == 1 { 3 } else { 4 };
    (2..=most).rev().find(fits).unwrap_or(1)
}

/// The steps of a tall tile without a loop: whole groups and whole rounds of turns.
fn steps(group: u32, turns: u32) -> u32 {
    let whole = |steps: &u32| steps.is_multiple_of(turns) && steps.is_multiple_of(group);
    (8..=12).find(whole).unwrap_or(12 / turns * turns)
}

/// The estimated cost of all tiles.
fn cost(shape: &Contract, lanes: u32, tile: &Tile) -> u64 {
    let shared = shape.shared();
    let extent = |back: usize| shared.len().checked_sub(back).map_or(1, |axis| shared[axis].len);
    let others: u64 = shape.rows.iter().map(|axis| u64::from(axis.len)).product::<u64>()
        / u64::from(extent(1).max(1))
        / u64::from(extent(2).max(1));
    let mut cost = 0u64;
    for across in pieces(extent(2), tile.across) {
        for rows in pieces(extent(1), tile.rows) {
            for vectors in pieces(shape.columns.div_ceil(lanes), tile.vectors) {
                let tiles = [across.tiles, rows.tiles, vectors.tiles].map(u64::from).iter().product::<u64>();
                let count = u64::from(across.size * rows.size);
                let one = tile_cost(shape.depth(), count, u64::from(vectors.size), tile);
                cost = cost
                    .saturating_add(one.saturating_mul(tiles).saturating_mul(others))
                    .saturating_add(PART);
            }
        }
    }
    cost
}

/// The estimated cost of a tile of `rows` by `vectors`.
fn tile_cost(depth: u64, rows: u64, vectors: u64, tile: &Tile) -> u64 {
    let turns = (u64::from(tile.sums) / (rows * vectors)).max(1);
    let sums = rows * vectors * turns;
    let additions = rows * vectors * CYCLE / 2;
    // Additions that wait for one another rarely meet exactly.
    let latency = 9 * CYCLE / (2 * turns);
    let step = match WIDE.get((vectors as usize).wrapping_sub(2)) {
        Some((vector, ..)) => (vectors * vector).max(latency),
        None => {
            let group = u64::from(tile.group);
            let moved = rows * turns.min(group) + 6;
            let operations = (2 * rows + 1) * CYCLE / ISSUE + moved * CYCLE / (ISSUE * group);
            additions.max(latency).max(operations)
        }
    };
    depth.saturating_mul(step).saturating_add(TILE + sums * ACCUMULATOR)
}

/// How far one step along a row axis moves a pointer, at most.
fn reach(shape: &Contract, axis: usize) -> u64 {
    let RowAxis { x, y, .. } = &shape.rows[axis];
    let extras = shape.extras.iter().map(|extra| extra.rows[axis]);
    extras.chain([*x, *y]).map(i64::unsigned_abs).max().unwrap_or(0)
}

/// Bytes of one epilogue.
fn epilogue_bytes(shape: &Contract) -> usize {
    let mut code = Code::new(Simd::Deterministic, 0);
    let operands: Vec<_> = (0..=shape.extras.len()).map(|_| code.vector()).collect();
    program::evaluate(&mut code, &shape.epilogue, &operands);
    code.finish().byte_len()
}
