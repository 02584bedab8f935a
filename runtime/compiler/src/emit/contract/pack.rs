//! Constant weights in the order in which the parts read them.
//!
//! ```text
//! for each piece of columns                     blocks of one width, see `part`
//!   for each set, for each block, for k.. in sums: the block's columns, zeros behind the last
//! ```

use super::{Contract, model, part};

/// The packed weights of a contract; `at(set, k, column)` gives the numbers. `set` counts over the row
/// axes with weights of their own, `k` over the sums.
pub(crate) fn pack(contract: &Contract, lanes: u32, at: impl Fn(u64, u64, u32) -> f32) -> Vec<f32> {
    let shape = contract.normalised();
    let tile = model::choose(&shape, lanes);
    pack_for(&shape, lanes, tile.vectors, at)
}

/// The packed weights of a normalised contract for blocks of at most `vectors`.
pub(super) fn pack_for(
    shape: &Contract,
    lanes: u32,
    vectors: u32,
    at: impl Fn(u64, u64, u32) -> f32,
) -> Vec<f32> {
    let (sets, depth) = (shape.sets(), shape.depth());
    let mut packed = Vec::new();
    for columns in part::columns(shape.columns, lanes, vectors) {
        let width = columns.piece.size * lanes;
        for set in 0..sets {
            for block in 0..columns.piece.tiles {
                let start = columns.piece.start * lanes + block * width;
                for k in 0..depth {
                    packed.extend(
                        (start..start + width)
                            .map(|column| if column < shape.columns { at(set, k, column) } else { 0.0 }),
                    );
                }
            }
        }
    }
    packed
}
