//! The loops around the tiles. Every part is a function with tiles of one size.
//!
//! ```text
//! for each set, for each block of columns, for each tile of rows: tile
//! ```
//! Rows and columns are cut into tiles of two sizes that differ by one: 25 rows in tiles of at most 4 are
//! 4 x 4 and 3 x 3, so that no tile is much smaller than the others. Every loop moves each pointer by one
//! constant, which takes back what the loops inside have moved.

use super::tile::{Body, Row};
use super::{Contract, Pointers, SumAxis, Tile, Weights};
use crate::emit::code::Code;
use crate::emit::expr::Index;
use crate::kernel::Region;

/// How far something moves each pointer, in elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moves {
    pub(crate) y: i64,
    pub(crate) x: i64,
    pub(crate) w: i64,
    pub(crate) bias: i64,
    pub(crate) extras: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Loop {
    trips: u32,
    moves: Moves,
}

/// A function: some columns of some rows of a contract.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Where the operands of this part start, in elements from those of the contract.
    pub(crate) offsets: Moves,
    /// Outermost first.
    loops: Vec<Loop>,
    body: Body,
}

/// Tiles of one size, behind one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Steps before the piece.
    pub(super) start: u32,
    pub(super) tiles: u32,
    /// Steps of each tile.
    pub(super) size: u32,
}

/// `len` steps in as few tiles of at most `most` as possible, the larger ones first.
pub(super) fn pieces(len: u32, most: u32) -> Vec<Piece> {
    let tiles = len.div_ceil(most.max(1));
    let (size, larger) = (len.checked_div(tiles).unwrap_or(0), len.checked_rem(tiles).unwrap_or(0));
    let pieces = [
        Piece { start: 0, tiles: larger, size: size + 1 },
        Piece { start: larger * (size + 1), tiles: tiles - larger, size },
    ];
    pieces.into_iter().filter(|piece| piece.tiles > 0).collect()
}

/// Blocks of columns: vectors, of which the last one of the last block may be a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) piece: Piece,
    pub(super) last_lanes: u32,
}

/// The blocks in the order in which the weights are packed.
pub(super) fn columns(columns: u32, lanes: u32, vectors: u32) -> Vec<Columns> {
    let mut all: Vec<Columns> = pieces(columns.div_ceil(lanes), vectors)
        .into_iter()
        .map(|piece| Columns { piece, last_lanes: lanes })
        .collect();
    if !columns.is_multiple_of(lanes)
        && let Some(Columns { piece, .. }) = all.pop()
    {
        let last = Piece { start: piece.start + (piece.tiles - 1) * piece.size, tiles: 1, size: piece.size };
        if piece.tiles > 1 {
            all.push(Columns { piece: Piece { tiles: piece.tiles - 1, ..piece }, last_lanes: lanes });
        }
        all.push(Columns { piece: last, last_lanes: columns % lanes });
    }
    all
}

/// The parts of a normalised contract.
pub(super) fn parts(contract: &Contract, lanes: u32, tile: &Tile) -> Vec<Part> {
    let mut parts = Vec::new();
    if contract.rows.iter().any(|axis| axis.len == 0) {
        return parts;
    }
    let one = vec![Piece { start: 0, tiles: 1, size: 1 }];
    let shared = contract.shared();
    let along = |back: usize, most: u32| match shared.len().checked_sub(back) {
        Some(axis) => pieces(shared[axis].len, most),
        None => one.clone(),
    };
    for columns in columns(contract.columns, lanes, tile.vectors) {
        for across in along(2, tile.across) {
            for rows in along(1, tile.rows) {
                parts.push(part(contract, lanes, tile, columns, [across, rows]));
            }
        }
    }
    parts
}

/// The part with these columns, and with these pieces of the last two row axes that a tile may reach over.
fn part(contract: &Contract, lanes: u32, tile: &Tile, columns: Columns, pieces: [Piece; 2]) -> Part {
    let outer = contract.rows.len() - contract.shared().len();
    let mut tiled: Vec<Piece> =
        contract.rows.iter().map(|axis| Piece { start: 0, tiles: axis.len, size: 1 }).collect();
    for (piece, axis) in pieces.iter().rev().zip(tiled[outer..].iter_mut().rev()) {
        *axis = *piece;
    }
    let depth = i64::try_from(contract.depth()).unwrap_or(i64::MAX);
    let width = i64::from(columns.piece.size * lanes);
    let set = depth * width * i64::from(columns.piece.tiles);
    let mut loops: Vec<Loop> = Vec::new();
    let mut sets_inside = i64::try_from(contract.sets()).unwrap_or(i64::MAX);
    for (axis, row) in contract.rows.iter().enumerate() {
        let steps = i64::from(tiled[axis].size);
        let w = match contract.weights {
            Weights::Packed if row.w == 0 => 0,
            Weights::Packed => {
                sets_inside /= i64::from(row.len);
                sets_inside * set
            }
            Weights::Rows => row.w,
        };
        let extras = contract.extras.iter().map(|extra| extra.rows[axis] * steps).collect();
        let moves = Moves { y: row.y * steps, x: row.x * steps, w, bias: row.bias, extras };
        loops.push(Loop { trips: tiled[axis].tiles, moves });
    }
    let along = |elements: i64| Moves {
        y: elements,
        x: 0,
        w: elements,
        bias: elements,
        extras: contract.extras.iter().map(|extra| extra.column * elements).collect(),
    };
    let mut block = Loop { trips: columns.piece.tiles, moves: along(width) };
    let mut offsets = along(i64::from(columns.piece.start * lanes));
    if contract.weights == Weights::Packed {
        block.moves.w = depth * width;
        offsets.w *= depth * i64::try_from(contract.sets()).unwrap_or(i64::MAX);
    }
    for (axis, (row, piece)) in contract.rows.iter().zip(&tiled).enumerate() {
        let start = i64::from(piece.start);
        offsets.y += row.y * start;
        offsets.x += row.x * start;
        for (offset, extra) in offsets.extras.iter_mut().zip(&contract.extras) {
            *offset += extra.rows[axis] * start;
        }
    }
    let sets = contract.rows.iter().take_while(|axis| axis.w != 0).count();
    loops.insert((sets + tile.outside).min(loops.len()), block);
    let mut body = Body {
        rows: tile_rows(contract, &tiled),
        vectors: columns.piece.size,
        last_lanes: columns.last_lanes,
        sums: contract.sums.clone(),
        weights: contract.weights,
        tile: *tile,
        epilogue: contract.epilogue.clone(),
        extra_columns: contract.extras.iter().map(|extra| extra.column).collect(),
    };
    if body.sums.is_empty() {
        body.sums.push(SumAxis { len: 1, x: 0, w: 0 });
    }
    Part { offsets, loops, body }
}

/// The rows of a tile.
fn tile_rows(contract: &Contract, tiled: &[Piece]) -> Vec<Row> {
    let mut rows = vec![Row { x: 0, y: 0, extras: vec![0; contract.extras.len()] }];
    for (axis, (row, piece)) in contract.rows.iter().zip(tiled).enumerate() {
        let next = |from: &Row| -> Vec<Row> {
            (0..i64::from(piece.size))
                .map(|step| Row {
                    x: from.x + row.x * step,
                    y: from.y + row.y * step,
                    extras: (from.extras.iter().zip(&contract.extras))
                        .map(|(start, extra)| start + extra.rows[axis] * step)
                        .collect(),
                })
                .collect()
        };
        rows = rows.iter().flat_map(next).collect();
    }
    rows
}

impl Part {
    /// Multiply-accumulates, without those of padding.
    pub(crate) fn macs(&self, lanes: u32) -> u64 {
        let columns = u64::from((self.body.vectors - 1) * lanes + self.body.last_lanes);
        let trips: u64 = self.loops.iter().map(|one| u64::from(one.trips)).product();
        let depth: u64 = self.body.sums.iter().map(|axis| u64::from(axis.len)).product();
        trips * self.body.rows.len() as u64 * columns * depth
    }

    /// Columns of a block of packed weights, at most; `None` if the weights are computed.
    pub(crate) fn block(&self, lanes: u32) -> Option<u32> {
        (self.body.weights == Weights::Packed).then_some(self.body.tile.vectors * lanes)
    }

    /// Its tile, for people.
    pub(crate) fn title(&self) -> String {
        format!("tile {}x{}", self.body.rows.len(), self.body.vectors)
    }

    /// The elements of one operand that the function reads or writes, from where its pointer starts:
    /// `step` says how far a loop moves the pointer, `row` where a row of a tile lies, and `inner` has the
    /// axes inside a tile.
    fn region(
        &self,
        step: impl Fn(&Moves) -> i64,
        row: impl Fn(&Row) -> i64,
        inner: &[(u32, i64)],
    ) -> Vec<Region> {
        let outer: Vec<(u32, i64)> = self.loops.iter().map(|one| (one.trips, step(&one.moves))).collect();
        let axes = [outer.as_slice(), inner].concat();
        self.body.rows.iter().map(|own| Region::of(row(own), axes.clone())).collect()
    }

    /// Columns of a tile, as an axis along which a step moves by `stride`.
    fn columns(&self, lanes: u32, stride: i64) -> (u32, i64) {
        ((self.body.vectors - 1) * lanes + self.body.last_lanes, stride)
    }

    /// What is read of x.
    pub(crate) fn x_region(&self) -> Vec<Region> {
        let sums: Vec<(u32, i64)> = self.body.sums.iter().map(|axis| (axis.len, axis.x)).collect();
        self.region(|moves| moves.x, |row| row.x, &sums)
    }

    /// What is read of weights that are computed, but for what lies behind their rows.
    pub(crate) fn w_region(&self, lanes: u32) -> Vec<Region> {
        let mut axes: Vec<(u32, i64)> = self.body.sums.iter().map(|axis| (axis.len, axis.w)).collect();
        axes.push(self.columns(lanes, 1));
        self.region(|moves| moves.w, |_| 0, &axes).into_iter().take(1).collect()
    }

    /// What is read of an extra.
    pub(crate) fn extra_region(&self, extra: usize, lanes: u32) -> Vec<Region> {
        let columns = self.columns(lanes, self.body.extra_columns[extra]);
        self.region(|moves| moves.extras[extra], |row| row.extras[extra], &[columns])
    }

    /// What is written.
    pub(crate) fn y_region(&self, lanes: u32) -> Vec<Region> {
        self.region(|moves| moves.y, |row| row.y, &[self.columns(lanes, 1)])
    }

    /// Writes the function.
    pub(crate) fn emit(&self, code: &mut Code, at: &Pointers) {
        let pointers: Vec<Index> = [Some(at.y), Some(at.x), Some(at.w), at.bias]
            .into_iter()
            .flatten()
            .chain(at.extras.clone())
            .collect();
        // In the order of the pointers.
        let list = |moves: &Moves| -> Vec<i64> {
            let bias = at.bias.map(|_| moves.bias);
            [Some(moves.y), Some(moves.x), Some(moves.w), bias]
                .into_iter()
                .flatten()
                .chain(moves.extras.iter().copied())
                .collect()
        };
        // Offsets in instructions are not negative: the pointers of what is stored and of the extras
        // move to the lowest address. The sums do that for x and w.
        let lowest = |of: &dyn Fn(&Row) -> i64| self.body.rows.iter().map(of).min().unwrap_or(0);
        let low_y = lowest(&|row| row.y);
        let low_extras: Vec<i64> =
            (0..at.extras.len()).map(|extra| lowest(&|row| row.extras[extra])).collect();
        let mut body = self.body.clone();
        for row in &mut body.rows {
            row.y -= low_y;
            row.extras.iter_mut().zip(&low_extras).for_each(|(offset, low)| *offset -= low);
        }
        code.advance(at.y, low_y * 4);
        at.extras.iter().zip(&low_extras).for_each(|(pointer, low)| code.advance(*pointer, low * 4));
        let (x, w) = body.moved(code.lanes());
        let moved = list(&Moves { y: 0, x, w, bias: 0, extras: vec![0; at.extras.len()] });
        let loops: Vec<(u32, Vec<i64>)> =
            self.loops.iter().map(|one| (one.trips, list(&one.moves))).filter(|one| one.0 != 1).collect();
        nest(code, &loops, &pointers, &moved, &|code| body.emit(code, at));
    }
}

/// The loops; `moved` is how far the body moves the pointers.
fn nest(
    code: &mut Code,
    loops: &[(u32, Vec<i64>)],
    pointers: &[Index],
    moved: &[i64],
    body: &dyn Fn(&mut Code),
) {
    let [(trips, moves), inner @ ..] = loops else { return body(code) };
    // The last turn of a loop moves its pointers too.
    let inside: Vec<i64> = match inner {
        [] => moved.to_vec(),
        [(trips, moves), ..] => moves.iter().map(|step| step * i64::from(*trips)).collect(),
    };
    code.counted(*trips, |code| {
        nest(code, inner, pointers, moved, body);
        for ((pointer, step), inside) in pointers.iter().zip(moves).zip(&inside) {
            code.advance(*pointer, (step - inside) * 4);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_differ_by_one_and_cover_everything() {
        for len in 1..100 {
            for most in 1..15 {
                let pieces = pieces(len, most);
                assert!(pieces.iter().all(|piece| piece.size <= most && piece.size > 0));
                assert_eq!(pieces.iter().map(|piece| piece.tiles * piece.size).sum::<u32>(), len);
                assert!(pieces.len() <= 2 && pieces.iter().all(|piece| piece.size + 1 >= pieces[0].size));
            }
        }
    }

    #[test]
    fn blocks_cover_every_column_once() {
        for lanes in [1, 4] {
            for n in 1..200 {
                let all = columns(n, lanes, 4);
                let sizes = all
                    .iter()
                    .map(|Columns { piece, last_lanes }| (piece.tiles * piece.size - 1) * lanes + last_lanes);
                assert_eq!(sizes.sum::<u32>(), n, "{lanes} lanes");
            }
        }
    }
}
