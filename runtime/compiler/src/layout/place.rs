//! The words of a plan: buffers, weights, places in them, and steps.

use std::rc::Rc;

use crate::graph::Rearrange;
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
        /// Bytes of an element.
        element_bytes: u32,
    },
}

/// Memory that is written.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// Its size for one sample.
    pub(crate) elements: u64,
    /// Who owns it.
    pub(crate) kind: Kind,
}

/// Memory that is never written: numbers as the module holds them.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    /// 32-bit words: f32 by their bits, or i32.
    pub(crate) words: Vec<u32>,
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
        let (first, layout) = self.layout.rearranged(rearrange, extents)?;
        let room =
            self.room.as_ref().and_then(|room| room.rearranged(rearrange, &self.layout.extents, extents));
        Some(Place { base: self.base, first: self.first + first, layout, room })
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
        Place { base: self.base, first, layout, room }
    }

    /// What is inside a border of these sides.
    pub(crate) fn inside(&self, sides: &[(u32, u32)]) -> Place {
        let axes = sides.iter().zip(&self.layout.strides);
        let first = self.first + axes.map(|((before, _), stride)| i64::from(*before) * stride).sum::<i64>();
        let extents =
            self.layout.extents.iter().zip(sides).map(|(extent, (before, after))| extent - before - after);
        let layout = Layout { extents: extents.collect(), strides: self.layout.strides.clone() };
        Place { base: self.base, first, layout, room: None }
    }
}

impl Halo {
    /// The border as a view sees it, where it still is one.
    pub(crate) fn rearranged(&self, rearrange: &Rearrange, old: &[u32], new: &[u32]) -> Option<Halo> {
        let sides = match rearrange {
            Rearrange::Transpose(axes) => axes.iter().map(|axis| self.sides[*axis]).collect(),
            Rearrange::Reshape => across(&self.sides, old, new)?,
            Rearrange::Slice(_) | Rearrange::Expand => return None,
        };
        Some(Halo { sides, value: self.value })
    }

    /// The border round the operand of a view that gives this one.
    pub(crate) fn before(&self, rearrange: &Rearrange, old: &[u32], new: &[u32]) -> Option<Halo> {
        let sides = match rearrange {
            Rearrange::Transpose(axes) => {
                let mut sides = vec![(0, 0); axes.len()];
                axes.iter().zip(&self.sides).for_each(|(axis, side)| sides[*axis] = *side);
                sides
            }
            Rearrange::Reshape => across(&self.sides, new, old)?,
            Rearrange::Slice(_) | Rearrange::Expand => return None,
        };
        Some(Halo { sides, value: self.value })
    }
}

/// Sides under another shape: one that differs in axes of extent 1 only, which must have none, or in axes
/// in front of all that have some.
fn across(sides: &[(u32, u32)], from: &[u32], to: &[u32]) -> Option<Vec<(u32, u32)>> {
    let first = sides.iter().position(|side| *side != (0, 0)).unwrap_or(sides.len());
    match to.len().checked_sub(from.len() - first) {
        Some(front) if from[first..] == to[front..] => {
            Some([vec![(0, 0); front].as_slice(), &sides[first..]].concat())
        }
        Some(_) | None => across_ones(sides, from, to),
    }
}

fn across_ones(sides: &[(u32, u32)], from: &[u32], to: &[u32]) -> Option<Vec<(u32, u32)>> {
    let mut rest = sides.iter().zip(from).filter(|(_, extent)| **extent != 1);
    let lost = sides.iter().zip(from).any(|(side, extent)| *extent == 1 && *side != (0, 0));
    let moved: Option<Vec<(u32, u32)>> = to
        .iter()
        .map(|extent| {
            if *extent == 1 {
                Some((0, 0))
            } else {
                rest.next().filter(|(_, old)| *old == extent).map(|(side, _)| *side)
            }
        })
        .collect();
    moved.filter(|_| !lost && rest.next().is_none())
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
