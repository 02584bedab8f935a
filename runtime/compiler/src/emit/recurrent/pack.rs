//! The order in which a recurrent layer reads its weights, and the columns of its share of the inputs.
//!
//! ```text
//! for each pass, for each group of hidden units
//!   columns:  for each gate, the group's units
//!   weights:  for each k in hidden, those columns
//! ```
//! A group is some vectors of four units, at every SIMD level; units behind the last one are zeros. All
//! gates of a unit are in one group, so that the unit's state is computed from locals.

use super::{Cell, Pass, Recurrent, Slot};

/// Units in a vector of the packed order.
pub(crate) const UNITS: u32 = 4;
/// Sums of a group: they hide the latency of an addition, and have registers beside what they need.
const MAX_SUMS: u32 = 8;
/// The most vectors of a group.
const MAX_VECTORS: u32 = 8;

/// Groups of one size, behind one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) count: u32,
    pub(super) vectors: u32,
    /// Units in the last vector.
    pub(super) last: u32,
}

impl Pass {
    /// The groups of `hidden` units: two sizes that differ by one vector, the last one maybe with less units.
    pub(super) fn groups(&self, hidden: u32) -> Vec<Groups> {
        let gates = u32::try_from(self.gates.len()).unwrap_or(u32::MAX).max(1);
        let most = (MAX_SUMS / gates).clamp(1, MAX_VECTORS);
        let vectors = hidden.div_ceil(UNITS);
        let count = vectors.div_ceil(most);
        let (size, larger) =
            (vectors.checked_div(count).unwrap_or(0), vectors.checked_rem(count).unwrap_or(0));
        let mut groups = vec![
            Groups { count: larger, vectors: size + 1, last: UNITS },
            Groups { count: count - larger, vectors: size, last: UNITS },
        ];
        if let (rest @ 1.., Some(last)) = (hidden % UNITS, groups.last_mut()) {
            last.count -= 1;
            let vectors = last.vectors;
            groups.push(Groups { count: 1, vectors, last: rest });
        }
        groups.retain(|groups| groups.count > 0);
        groups
    }
}

impl Cell {
    /// Vectors that passes leave for the next one.
    pub(super) fn between(&self) -> usize {
        let written = self.passes.iter().flat_map(|pass| &pass.results).map(|(slot, _)| match slot {
            Slot::Between(place) => place + 1,
            Slot::Hidden | Slot::Cell | Slot::Constant(_) => 0,
        });
        written.max().unwrap_or(0)
    }

    /// The constants that it reads.
    pub(crate) fn constants(&self) -> usize {
        let read = self.passes.iter().flat_map(|pass| &pass.reads).map(|slot| match slot {
            Slot::Constant(place) => place + 1,
            Slot::Hidden | Slot::Cell | Slot::Between(_) => 0,
        });
        read.max().unwrap_or(0)
    }

    /// Every column: its gate and its unit, `None` behind the last unit.
    pub(crate) fn columns(&self, hidden: u32) -> Vec<Option<(usize, u32)>> {
        self.groups_of_columns(hidden).concat()
    }

    fn groups_of_columns(&self, hidden: u32) -> Vec<Vec<Option<(usize, u32)>>> {
        let mut groups = Vec::new();
        for pass in &self.passes {
            let mut first = 0;
            for same in pass.groups(hidden) {
                let units = same.vectors * UNITS;
                for _ in 0..same.count {
                    let of = |gate: &usize| {
                        let gate = *gate;
                        (first..first + units).map(move |unit| (unit < hidden).then_some((gate, unit)))
                    };
                    groups.push(pass.gates.iter().flat_map(of).collect());
                    first += units;
                }
            }
        }
        groups
    }

    /// The weights `[gates * hidden, hidden]` in the order in which they are read.
    pub(crate) fn packed(&self, hidden: u32, weights: &[f32]) -> Vec<f32> {
        let units = hidden as usize;
        let number = |column: &Option<(usize, u32)>, k: usize| {
            let row = column.map(|(gate, unit)| gate * units + unit as usize);
            row.and_then(|row| weights.get(row * units + k)).copied().unwrap_or(0.0)
        };
        let mut packed = Vec::new();
        for columns in self.groups_of_columns(hidden) {
            for k in 0..units {
                packed.extend(columns.iter().map(|column| number(column, k)));
            }
        }
        packed
    }
}

impl Recurrent {
    /// Bytes of a vector of all units.
    pub(super) fn vector_bytes(&self) -> u64 {
        u64::from(self.hidden.next_multiple_of(UNITS)) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(gates: usize) -> Cell {
        let pass = Pass {
            gates: (0..gates).collect(),
            started: gates,
            times: Slot::Hidden,
            reads: Vec::new(),
            results: Vec::new(),
        };
        Cell { passes: vec![pass], has_cell: false }
    }

    #[test]
    fn every_unit_of_every_gate_is_in_one_group() {
        for gates in 1..=4 {
            for hidden in 1..70 {
                let columns = cell(gates).columns(hidden);
                let mut real: Vec<(usize, u32)> = columns.iter().flatten().copied().collect();
                real.sort_unstable();
                let all: Vec<(usize, u32)> =
                    (0..gates).flat_map(|gate| (0..hidden).map(move |unit| (gate, unit))).collect();
                assert_eq!(real, all);
                assert_eq!(columns.len(), gates * hidden.next_multiple_of(UNITS) as usize);
            }
        }
    }
}
