//! How a slide is cut into blocks of channels and tiles of places: the same for the code and for the order
//! of its weights.

use super::Fold;
use crate::graph::Window;

/// Vectors that fit the registers of a host with sixteen, with some left for what is loaded.
const REGISTERS: u32 = 13;
/// Accumulators of a tile, at most.
const ACCUMULATORS: u32 = 8;
/// Up to this many taps along a row, all of them share what is loaded.
pub(super) const MAX_SHARED_TAPS: u32 = 7;

/// Blocks of channels of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) count: u32,
    pub(super) vectors: u32,
    /// Numbers in the last vector.
    pub(super) last_lanes: u32,
}

/// Blocks and tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order of the channels.
    pub(super) blocks: Vec<Blocks>,
    /// How many tiles there are of how many places along a row.
    pub(super) tiles: Vec<(u32, u32)>,
    /// Taps of the whole window.
    pub(super) taps: i64,
}

impl Plan {
    /// For a result of these extents: the channels, then the spatial axes.
    pub(super) fn of(windows: &[Window], extents: &[u32], fold: Fold, lanes: u32) -> Plan {
        let channels = extents.get(extents.len() - windows.len() - 1).copied().unwrap_or(1);
        let along = extents.last().copied().unwrap_or(1);
        let size = windows.last().map_or(1, |window| window.size);
        let weights = match fold {
            Fold::Weighted { .. } if size <= MAX_SHARED_TAPS => size,
            Fold::Weighted { .. } => 1,
            Fold::Sum | Fold::Max => 0,
        };
        let tiles = pieces(along, ACCUMULATORS.min(REGISTERS.saturating_sub(weights)));
        let places = tiles.first().map_or(1, |tile| tile.1);
        let whole = channels.div_ceil(lanes);
        let most = (REGISTERS / (weights + places)).min(ACCUMULATORS / places).max(1);
        let mut blocks: Vec<Blocks> = pieces(whole, most)
            .into_iter()
            .map(|(count, vectors)| Blocks { count, vectors, last_lanes: lanes })
            .collect();
        if let Some(last) = blocks.pop() {
            match channels % lanes {
                0 => blocks.push(last),
                rest => {
                    if last.count > 1 {
                        blocks.push(Blocks { count: last.count - 1, ..last });
                    }
                    blocks.push(Blocks { count: 1, last_lanes: rest, ..last });
                }
            }
        }
        let taps = windows.iter().map(|window| i64::from(window.size)).product();
        Plan { blocks, tiles, taps }
    }
}

/// `len` steps in pieces of at most `most`: how many pieces of which size. Equal ones, if they can be large;
/// otherwise of two sizes that differ by one.
fn pieces(len: u32, most: u32) -> Vec<(u32, u32)> {
    let most = most.clamp(1, len.max(1));
    let equal = (most.div_ceil(2)..=most).rev().find(|size| len.is_multiple_of(*size));
    if let Some(size) = equal {
        return vec![(len / size, size)];
    }
    let count = len.div_ceil(most);
    let (size, larger) = (len / count, len % count);
    [(larger, size + 1), (count - larger, size)].into_iter().filter(|(count, _)| *count > 0).collect()
}

/// Weights in the order in which they are read: for each block, for each tap, its channels, with zeros
/// behind the last. `at(channel, tap)` gives the numbers.
pub(crate) fn pack(
    windows: &[Window],
    extents: &[u32],
    fold: Fold,
    lanes: u32,
    at: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let plan = Plan::of(windows, extents, fold, lanes);
    let channels = extents.get(extents.len() - windows.len() - 1).copied().unwrap_or(1);
    let taps = usize::try_from(plan.taps).unwrap_or(0);
    let mut packed = Vec::new();
    let mut first = 0;
    for Blocks { count, vectors, .. } in plan.blocks {
        for _ in 0..count {
            let width = vectors * lanes;
            for tap in 0..taps {
                let number = |channel: u32| if channel < channels { at(channel as usize, tap) } else { 0.0 };
                packed.extend((first..first + width).map(number));
            }
            first += width;
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_equal_where_they_can_be() {
        assert_eq!(pieces(24, 8), [(3, 8)]);
        assert_eq!(pieces(25, 8), [(5, 5)]);
        assert_eq!(pieces(11, 8), [(1, 6), (1, 5)]);
        assert_eq!(pieces(3, 8), [(1, 3)]);
        assert_eq!(pieces(1, 8), [(1, 1)]);
    }
}
