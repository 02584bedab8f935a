//! Contractions: dense layers, matrix products, convolutions, projections; all sums of products in which
//! the columns of the result are neighbours in memory.
//!
//! ```text
//! for r.. in rows, for j in columns
//!   y[r.., j] = epilogue(bias[j] + sum over k.. of x[r.., k..] * w[k.., j], extras[r.., j]..)
//! ```
//! A convolution is one by implicit im2col: its rows are the places of the result, its sums the places
//! of the window and the channels, and both move x by constant strides. What is emitted:
//!
//! ```text
//! for each part                                 a wasm function: one width of columns, one height of tile
//!   for each set of weights                     groups, batched matrices
//!     for each block of columns                 or tiles outside and blocks inside: `model` chooses
//!       for each tile of rows
//!         acc[i, v] = bias[v]                   `tile`: all sums of a tile stay in registers
//!         for k.. in sums: acc[i, v] += w[k.., v] * x[i, k..]
//!         y[i, v] = epilogue(acc[i, v], extras[i, v]..)
//! ```
//! `shape` merges axes that lie behind one another, `model` chooses tiles, `part` writes the loops,
//! `tile` what is in them, and `pack` brings constant weights into the order in which they are read.

pub(crate) mod bare;
mod model;
mod pack;
mod part;
mod shape;
#[cfg(test)]
mod tests;
mod tile;

pub use model::Tile;
pub(crate) use pack::pack;
pub(crate) use part::{Moves, Part};

use super::expr::Index;
use crate::program::Program;

/// A sum of products. Strides are in elements of f32.
///
/// Memory: exactly the elements of x and of `extras` are read, and exactly those of y are written, so an
/// extra may be y itself. The bias is padded to whole vectors. Weights that are computed may be read up
/// to three elements behind each of their rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contract {
    /// Axes of the result but for its columns, outermost first.
    pub(crate) rows: Vec<RowAxis>,
    /// Axes that are summed over, outermost first.
    pub(crate) sums: Vec<SumAxis>,
    /// Columns, which are neighbours in y, in the bias and in weights that are computed.
    pub(crate) columns: u32,
    /// Where the weights come from.
    pub(crate) weights: Weights,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    /// What is applied before a sum is stored. Operand 0 is the sum with its bias, then come the extras.
    pub(crate) epilogue: Program,
    /// Other tensors that the epilogue reads.
    pub(crate) extras: Vec<Extra>,
    /// Columns of a block of packed weights, if they are to lie as in an earlier module.
    pub(crate) block: Option<u32>,
}

/// An axis of the result: how far one step along it moves each operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowAxis {
    /// How many steps.
    pub(crate) len: u32,
    pub(crate) x: i64,
    pub(crate) y: i64,
    /// Not 0 if every step has weights of its own; which number counts only for computed weights.
    pub(crate) w: i64,
    pub(crate) bias: i64,
}

/// An axis of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SumAxis {
    /// How many steps.
    pub(crate) len: u32,
    pub(crate) x: i64,
    /// Counts only for computed weights.
    pub(crate) w: i64,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// A constant, brought into order by [`pack`].
    Packed,
    /// A computed tensor.
    Rows,
}

/// Another tensor that the epilogue reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    /// How far one step along each row axis moves it.
    pub(crate) rows: Vec<i64>,
    /// 1 if it has columns, 0 if it has one number for all of them.
    pub(crate) column: i64,
}

/// The addresses of the operands: locals that a part may change.
#[derive(Clone, Debug)]
pub(crate) struct Pointers {
    pub(crate) y: Index,
    pub(crate) x: Index,
    pub(crate) w: Index,
    pub(crate) bias: Option<Index>,
    pub(crate) extras: Vec<Index>,
}

/// The tile that the compiler takes for a contract.
pub(crate) fn choose(contract: &Contract, lanes: u32) -> Tile {
    model::choose(&contract.normalised(), lanes)
}

/// All tiles that [`choose`] chooses from.
pub(crate) fn candidates(contract: &Contract, lanes: u32) -> Vec<Tile> {
    model::candidates(&contract.normalised(), lanes)
}

/// The functions that compute the contract one after the other, in any order. The same contract gives
/// the same parts.
pub(crate) fn parts(contract: &Contract, lanes: u32) -> Vec<Part> {
    let shape = contract.normalised();
    let tile = model::choose(&shape, lanes);
    part::parts(&shape, lanes, &tile)
}
