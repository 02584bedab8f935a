//! The dense kernel: a row of x times a matrix of weights that streams through once.
//!
//! ```text
//! for r in rows
//!   for each block of columns                     32, then 16, 8 and 4 for what is left
//!     acc[v] = bias[v]                            8 vectors, of which 1, 2, 4 or 8 a column
//!     for i in 0..k
//!       for v in block: acc[v] += w[i, v] * x[r, i]
//!     y[r, v] = activation(acc[v])
//! ```
//!
//! With few samples this is bound by reading the weights, so they are packed in the order in which they
//! are read: block by block, row by row. Eight accumulators hide the latency of the additions; a narrow
//! block takes turns (`i mod turns`) and adds them up at the end. The weight is the first multiplicand,
//! because it dies in the operation, and a pin after each step keeps Cranelift from loading everything
//! first and spilling.

use super::code::{Code, Pin};
use super::expr::{Expr, Index, Vector};
use super::math;
use crate::graph::{Dense, Weights};

/// Accumulators of one block.
const ACCUMULATORS: u32 = 8;
/// Vectors of a block, widest first.
const WIDTHS: [u32; 4] = [8, 4, 2, 1];
/// Steps of one turn of the loop over k, at most, while offsets stay small.
const MAX_OFFSET_BYTES: u64 = 1 << 20;

/// Neighbouring blocks of one width.
struct Blocks {
    /// Vectors of each block.
    vectors: u32,
    /// How many blocks.
    count: u32,
    /// Numbers in the last vector of the last block.
    last_lanes: u32,
}

/// The blocks of `n` columns.
fn blocks(n: u32, lanes: u32) -> Vec<Blocks> {
    let mut blocks = Vec::new();
    let mut vectors = n.div_ceil(lanes);
    for width in WIDTHS {
        let count = vectors / width;
        if count > 0 {
            blocks.push(Blocks { vectors: width, count, last_lanes: lanes });
        }
        vectors %= width;
    }
    if !n.is_multiple_of(lanes)
        && let Some(last) = blocks.pop()
    {
        if last.count > 1 {
            blocks.push(Blocks { count: last.count - 1, ..last });
        }
        blocks.push(Blocks { count: 1, last_lanes: n % lanes, ..last });
    }
    blocks
}

/// A row-major `[k, n]` matrix in the order in which the kernel reads it, with zeros up to whole vectors.
pub(crate) fn pack(w: &[f32], k: u32, n: u32, lanes: u32) -> Vec<f32> {
    let (k, n) = (k as usize, n as usize);
    let mut packed = Vec::with_capacity(k * n.next_multiple_of(lanes as usize));
    let mut start = 0;
    for block in blocks(u32::try_from(n).unwrap_or(u32::MAX), lanes) {
        let width = (block.vectors * lanes) as usize;
        for _ in 0..block.count {
            let end = (start + width).min(n);
            for i in 0..k {
                packed.extend_from_slice(&w[i * n + start..i * n + end]);
                packed.resize(packed.len() + (start + width - end), 0.0);
            }
            start = end;
        }
    }
    packed
}

/// The operands of a dense kernel: addresses.
pub(super) struct Operands {
    pub(super) y: Index,
    pub(super) x: Index,
    pub(super) w: Index,
    pub(super) bias: Option<Index>,
}

/// Writes the kernel.
pub(super) fn emit(code: &mut Code, dense: &Dense, operands: &Operands) {
    let Operands { y, x, w, bias } = *operands;
    code.counted(dense.rows, |code| {
        let w = code.copy(w);
        let bias = bias.map(|bias| code.copy(bias));
        for blocks in blocks(dense.n, code.lanes()) {
            code.counted(blocks.count, |code| {
                block(code, dense, &blocks, &Operands { y, x, w, bias });
            });
        }
        code.advance(x, i64::from(dense.x_row) * 4);
    });
}

/// One block of columns; moves y, w and the bias to the next.
fn block(code: &mut Code, dense: &Dense, blocks: &Blocks, operands: &Operands) {
    let Operands { y, x, w, bias } = *operands;
    let lanes = code.lanes();
    let vector_bytes = lanes * 4;
    let start = |v: u32| match bias {
        Some(at) => Expr::Load { at, offset: v * vector_bytes, lanes },
        None => Expr::Number(0.0),
    };
    let turns = ACCUMULATORS / blocks.vectors;
    let accumulators: Vec<Vec<Vector>> = (0..turns)
        .map(|turn| {
            (0..blocks.vectors)
                .map(|v| code.set(if turn == 0 { start(v) } else { Expr::Number(0.0) }))
                .collect()
        })
        .collect();
    let step = Step {
        accumulators: &accumulators,
        x: code.copy(x),
        x_bytes: dense.x_step.saturating_mul(4),
        // Packed weights lie in the order of the blocks, so w walks on; rows of n columns are jumped.
        w: if dense.weights == Weights::Packed { w } else { code.copy(w) },
        w_bytes: match dense.weights {
            Weights::Packed => blocks.vectors * vector_bytes,
            Weights::Rows => dense.n.saturating_mul(4),
        },
        last_lanes: match dense.weights {
            Weights::Packed => lanes,
            Weights::Rows => blocks.last_lanes,
        },
    };
    step.sum(code, dense.k);
    let columns = (blocks.vectors - 1) * lanes + blocks.last_lanes;
    for v in 0..blocks.vectors {
        let column: Vec<Vector> = accumulators.iter().map(|turn| turn[v as usize]).collect();
        let sum = code.set(total(&column));
        let result = math::apply(code, dense.activation, sum);
        let stored = if v + 1 == blocks.vectors { blocks.last_lanes } else { lanes };
        code.store(y, v * vector_bytes, stored, result);
    }
    code.advance(y, i64::from(columns) * 4);
    if dense.weights == Weights::Rows {
        code.advance(w, i64::from(columns) * 4);
    }
    if let Some(bias) = bias {
        code.advance(bias, i64::from(columns) * 4);
    }
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

/// One step of the sum over i, and where it reads.
struct Step<'a> {
    accumulators: &'a [Vec<Vector>],
    x: Index,
    x_bytes: u32,
    w: Index,
    w_bytes: u32,
    last_lanes: u32,
}

impl Step<'_> {
    /// `for i in 0..k`, several steps a turn of the loop.
    fn sum(&self, code: &mut Code, k: u32) {
        let stride = u64::from(self.x_bytes.max(self.w_bytes));
        let wished = if self.accumulators.len() > 1 { ACCUMULATORS } else { ACCUMULATORS / 2 };
        let unroll = if stride * u64::from(wished) <= MAX_OFFSET_BYTES { wished } else { 1 };
        code.pinned(|code, pin| {
            code.counted(k / unroll, |code| self.steps(code, unroll, pin));
        });
        code.pinned(|code, pin| self.steps(code, k % unroll, pin));
    }

    fn steps(&self, code: &mut Code, steps: u32, pin: Pin) {
        for i in 0..steps {
            if i > 0 {
                code.pin(pin, self.x);
            }
            let x = code.set(Expr::Splat { at: self.x, offset: i * self.x_bytes });
            let turn = &self.accumulators[i as usize % self.accumulators.len()];
            for (v, acc) in turn.iter().enumerate() {
                if v == 4 {
                    code.pin(pin, self.x);
                }
                let lanes = if v + 1 == turn.len() { self.last_lanes } else { code.lanes() };
                let offset = i * self.w_bytes + u32::try_from(v).unwrap_or(0) * code.lanes() * 4;
                let w = Expr::Load { at: self.w, offset, lanes };
                code.assign(*acc, Expr::mul_add(w, x, *acc));
            }
        }
        code.advance(self.x, i64::from(steps) * i64::from(self.x_bytes));
        code.advance(self.w, i64::from(steps) * i64::from(self.w_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_column_once() {
        for lanes in [1, 4] {
            for n in 1..200 {
                let columns: u32 =
                    blocks(n, lanes).iter().map(|b| (b.vectors * b.count - 1) * lanes + b.last_lanes).sum();
                assert_eq!(columns, n, "{lanes} lanes");
            }
        }
    }

    #[test]
    fn packed_weights_are_in_the_order_of_the_kernel() {
        // Two rows of five columns: a block of eight, the last three of which are padding.
        let w: Vec<f32> = (0..10u8).map(f32::from).collect();
        let expected = [0., 1., 2., 3., 4., 0., 0., 0., 5., 6., 7., 8., 9., 0., 0., 0.];
        assert_eq!(pack(&w, 2, 5, 4), expected);
    }
}
