//! The plan of the arena: which intermediate lies where.
//!
//! Buffers are placed from the largest to the smallest. Each goes into the smallest gap that fits
//! between the buffers that are alive at the same time and already have a place, or behind them all
//! ("greedy by size" with best fit, after Pisarchyk and Lee, *Efficient Memory Management for Deep
//! Neural Net Inference*, 2020). The property tests hold what matters: no two buffers that are alive
//! together overlap, and the arena is never smaller than what is alive at one time.

/// Every buffer starts at a multiple of this many bytes.
pub(crate) const ALIGN_BYTES: u64 = dunlin_abi::TENSOR_ALIGN as u64;

/// Memory that one value needs from one step to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// How many bytes.
    pub(crate) bytes: u64,
    /// The step that writes it.
    pub(crate) first: usize,
    /// The last step that reads it.
    pub(crate) last: usize,
}

impl Buffer {
    fn lives_with(&self, other: &Buffer) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where the buffers lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The offset of each buffer from the start of the arena, in the order they were given.
    pub(crate) offsets: Vec<u64>,
    /// The size of the arena.
    pub(crate) bytes: u64,
}

/// Finds a place for every buffer.
pub(crate) fn plan(buffers: &[Buffer]) -> Plan {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(buffers[*index].bytes), buffers[*index].first, *index));
    let mut plan = Plan { offsets: vec![0; buffers.len()], bytes: 0 };
    // (start, end, buffer) of everything placed, in order of start.
    let mut placed: Vec<(u64, u64, usize)> = Vec::with_capacity(buffers.len());
    for index in order {
        let bytes = buffers[index].bytes.next_multiple_of(ALIGN_BYTES);
        let neighbours = placed.iter().filter(|(_, _, other)| buffers[*other].lives_with(&buffers[index]));
        let start = best_fit(neighbours.map(|(start, end, _)| (*start, *end)), bytes);
        let position = placed.partition_point(|(other, _, _)| *other <= start);
        placed.insert(position, (start, start + bytes, index));
        plan.offsets[index] = start;
        plan.bytes = plan.bytes.max(start + bytes);
    }
    plan
}

/// The start of the smallest gap of at least `bytes` between `neighbours`, which are in order of start.
fn best_fit(neighbours: impl Iterator<Item = (u64, u64)>, bytes: u64) -> u64 {
    let mut free_from = 0;
    let mut best: Option<(u64, u64)> = None;
    for (start, end) in neighbours {
        let gap = start.saturating_sub(free_from);
        if gap >= bytes && start > free_from && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, free_from));
        }
        free_from = free_from.max(end);
    }
    best.map_or(free_from, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer() -> impl Strategy<Value = Buffer> {
        (1u64..5000, 0usize..30, 0usize..10).prop_map(|(bytes, first, life)| Buffer {
            bytes,
            first,
            last: first + life,
        })
    }

    proptest! {
        #[test]
        fn buffers_that_live_together_do_not_overlap(buffers in prop::collection::vec(buffer(), 0..40)) {
            let plan = plan(&buffers);
            for (i, a) in buffers.iter().enumerate() {
                prop_assert_eq!(plan.offsets[i] % ALIGN_BYTES, 0);
                prop_assert!(plan.offsets[i] + a.bytes <= plan.bytes);
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let apart = plan.offsets[i] + a.bytes <= plan.offsets[j]
                        || plan.offsets[j] + b.bytes <= plan.offsets[i];
                    prop_assert!(apart || a.last < b.first || b.last < a.first, "{i} and {j} overlap");
                }
            }
        }

        #[test]
        fn the_arena_is_between_what_lives_at_once_and_the_sum(buffers in prop::collection::vec(buffer(), 0..40)) {
            let size = |b: &Buffer| b.bytes.next_multiple_of(ALIGN_BYTES);
            let alive = |step| buffers.iter().filter(|b| (b.first..=b.last).contains(&step)).map(size).sum::<u64>();
            let least = (0..50).map(alive).max().unwrap_or(0);
            let plan = plan(&buffers);
            prop_assert!(plan.bytes >= least);
            prop_assert!(plan.bytes <= buffers.iter().map(size).sum());
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let chain: Vec<Buffer> = [640, 512, 512, 32, 512, 640]
            .iter()
            .enumerate()
            .map(|(i, bytes)| Buffer { bytes: *bytes, first: i, last: i + 1 })
            .collect();
        assert_eq!(plan(&chain).bytes, 640 + 512);
    }
}
