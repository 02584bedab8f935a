//! The words of a plan: buffers, weights, places in them, and steps.

use std::rc::Rc;

use crate::graph::{Rearrange, ValueId};
use crate::kernel::{Halo, Kernel, Layout, Want};

/// What a plan's addresses are distances in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    /// A buffer, by its number.
    Buffer(usize),
    /// A weight, by its number.
    Weight(usize),
}

/// Who owns a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An intermediate of one sample.
    Arena,
    /// An input or output, with a region for each sample of a batch.
    Tensor {
        /// Whether there is one region a sample.
        batched: bool,
    },
}

/// Memory that is written.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// Its size for one sample.
    pub(crate) bytes: u64,
    /// Who owns it.
    pub(crate) kind: Kind,
}

/// Memory that is never written: numbers as the module holds them.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    /// 32-bit words: f32 by their bits, i32, or i64 as two words with the lower half first.
    pub(crate) words: Vec<u32>,
    /// Whether the words are f32, which may be stored as halves.
    pub(crate) floats: bool,
    /// How many of them are numbers of the model, and not padding.
    pub(crate) parameters: u64,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The memory.
    pub(crate) base: Base,
    /// The distance of its first element from the memory's, in elements.
    pub(crate) first: i64,
    /// Its axes.
    pub(crate) layout: Layout,
    /// Bytes of an element: distances and strides count in elements.
    pub(crate) bytes: u32,
    /// A border round it that is filled.
    pub(crate) room: Option<Halo>,
}

impl Place {
    /// Whether a reader with this wish can read it.
    pub(crate) fn fits(&self, want: Want) -> bool {
        match want {
            Want::Any => true,
            Want::RowMajor => self.layout.is_row_major(),
            Want::Unit(axis) => self.layout.is_unit(axis),
        }
    }

    /// Whether the border that a reader needs is there.
    pub(crate) fn has_room(&self, halo: &Halo) -> bool {
        let needs = halo.sides.iter().any(|sides| *sides != (0, 0));
        let has = |room: &Halo| {
            let sides = room.sides.iter().zip(&halo.sides);
            room.value == halo.value
                && sides.into_iter().all(|(has, needs)| has.0 >= needs.0 && has.1 >= needs.1)
        };
        !needs || self.room.as_ref().is_some_and(has)
    }

    /// The place of a view.
    pub(crate) fn rearranged(&self, rearrange: &Rearrange, extents: &[u32]) -> Option<Place> {
        let (first, mut layout) = self.layout.rearranged(rearrange, extents)?;
        let room = self.room.as_ref().and_then(|room| self.carried(room, rearrange, &mut layout));
        Some(Place { first: self.first + first, layout, room, ..self.clone() })
    }

    /// The border as a view sees it, where it still is one. Along an axis of extent 1 the stride of a view
    /// is free, but that of its border is not: it becomes the one that the border was filled with.
    fn carried(&self, room: &Halo, rearrange: &Rearrange, view: &mut Layout) -> Option<Halo> {
        let old = &self.layout;
        let from: Vec<Option<usize>> = match rearrange {
            Rearrange::Transpose(axes) => axes.iter().copied().map(Some).collect(),
            Rearrange::Reshape => across(&room.sides, &old.extents, &view.extents)?,
            Rearrange::Slice(_) | Rearrange::Expand => return None,
        };
        let mut sides = vec![(0, 0); view.extents.len()];
        for (axis, from) in from.into_iter().enumerate() {
            let Some(from) = from.filter(|from| room.sides[*from] != (0, 0)) else { continue };
            sides[axis] = room.sides[from];
            if view.extents[axis] == 1 {
                view.strides[axis] = old.strides[from];
            } else if view.strides[axis] != old.strides[from] {
                return None;
            }
        }
        Some(Halo { sides, value: room.value })
    }

    /// The same memory as 32-bit words, which a copy of elements of any size moves.
    pub(crate) fn words(&self) -> Place {
        let words = i64::from(self.bytes / 4);
        if words <= 1 {
            return self.clone();
        }
        let mut layout = self.layout.clone();
        layout.strides.iter_mut().for_each(|stride| *stride *= words);
        layout.extents.push(self.bytes / 4);
        layout.strides.push(1);
        Place { base: self.base, first: self.first * words, layout, bytes: 4, room: None }
    }

    /// The place as an element-wise reader of a larger shape sees it.
    pub(crate) fn broadcast(&self, extents: &[u32]) -> Place {
        Place { layout: self.layout.broadcast(extents), room: None, ..self.clone() }
    }

    /// The part of it from `start` on along an axis.
    pub(crate) fn part(&self, axis: usize, start: u32, extents: &[u32]) -> Place {
        let first = self.first + i64::from(start) * self.layout.strides[axis];
        let layout = Layout { extents: extents.to_vec(), strides: self.layout.strides.clone() };
        let whole = self.layout.extents[axis] == extents[axis];
        let room = self.room.clone().filter(|room| whole || room.sides[axis] == (0, 0));
        Place { first, layout, room, ..self.clone() }
    }

    /// What is inside a border of these sides.
    pub(crate) fn inside(&self, sides: &[(u32, u32)]) -> Place {
        let axes = sides.iter().zip(&self.layout.strides);
        let first = self.first + axes.map(|((before, _), stride)| i64::from(*before) * stride).sum::<i64>();
        let extents =
            self.layout.extents.iter().zip(sides).map(|(extent, (before, after))| extent - before - after);
        let layout = Layout { extents: extents.collect(), strides: self.layout.strides.clone() };
        Place { first, layout, room: None, ..self.clone() }
    }
}

impl Halo {
    /// The border round the operand of a view that gives this one.
    pub(crate) fn before(&self, rearrange: &Rearrange, old: &[u32], new: &[u32]) -> Option<Halo> {
        let sides = match rearrange {
            Rearrange::Transpose(axes) => {
                let mut sides = vec![(0, 0); axes.len()];
                axes.iter().zip(&self.sides).for_each(|(axis, side)| sides[*axis] = *side);
                sides
            }
            Rearrange::Reshape => {
                let from = across(&self.sides, new, old)?;
                from.into_iter().map(|from| from.map_or((0, 0), |from| self.sides[from])).collect()
            }
            Rearrange::Slice(_) | Rearrange::Expand => return None,
        };
        Some(Halo { sides, value: self.value })
    }
}

/// For each axis of another shape the axis whose sides it has; `None` if some sides have no place there.
/// The shapes may differ in axes of extent 1 without sides, or in axes in front of all that have some.
fn across(sides: &[(u32, u32)], from: &[u32], to: &[u32]) -> Option<Vec<Option<usize>>> {
    let first = sides.iter().position(|side| *side != (0, 0)).unwrap_or(sides.len());
    match to.len().checked_sub(from.len() - first) {
        Some(front) if from[first..] == to[front..] => {
            Some(vec![None; front].into_iter().chain((first..from.len()).map(Some)).collect())
        }
        Some(_) | None => across_ones(sides, from, to),
    }
}

fn across_ones(sides: &[(u32, u32)], from: &[u32], to: &[u32]) -> Option<Vec<Option<usize>>> {
    let mut rest = (0..from.len()).filter(|axis| from[*axis] != 1);
    let lost = sides.iter().zip(from).any(|(side, extent)| *extent == 1 && *side != (0, 0));
    let moved: Option<Vec<Option<usize>>> = to
        .iter()
        .map(|extent| match extent {
            1 => Some(None),
            _ => rest.next().filter(|axis| from[*axis] == *extent).map(Some),
        })
        .collect();
    moved.filter(|_| !lost && rest.next().is_none())
}

/// What a step leaves in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// A value, or a part of it, or a copy.
    Value(ValueId),
    /// A border of a number, by its bits.
    Border(u32),
}

/// One run of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What runs.
    pub(crate) kernel: Rc<dyn Kernel>,
    /// Where its result goes.
    pub(crate) y: Place,
    /// Where its operands lie.
    pub(crate) operands: Vec<Place>,
    /// A buffer for its own use.
    pub(crate) scratch: Option<usize>,
    /// The ONNX nodes that it computes.
    pub(crate) origins: Vec<usize>,
    /// What it writes.
    pub(crate) made: Made,
    /// The values that it reads.
    pub(crate) reads: Vec<ValueId>,
    /// Operands of its node round which it may read a border.
    pub(crate) borders: Vec<(Place, Halo)>,
}

/// Kernels in order, and the memory that they work on.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Memory that is written.
    pub(crate) buffers: Vec<Buffer>,
    /// Memory that is not.
    pub(crate) weights: Vec<Weight>,
    /// What runs for one sample.
    pub(crate) steps: Vec<Step>,
    /// The buffers of the model's inputs.
    pub(crate) inputs: Vec<usize>,
    /// The buffers of the model's outputs.
    pub(crate) outputs: Vec<usize>,
}
