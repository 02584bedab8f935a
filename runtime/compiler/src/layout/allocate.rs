//! Where a result goes: into a concatenation, where the host reads it, over an operand that is not needed
//! any more, or into a buffer of its own, with the border that its readers wish for.
//!
//! **The aliasing rule** is here and nowhere else. A result may lie over an operand if all of this holds:
//! the operand's buffer is an intermediate that no later node reads; every step of the node reads this
//! operand at each place before it writes that place, and nowhere else (it is *overwritable*); and each
//! other operand of the node in the same buffer is overwritable too and lies at the same place. The caller
//! names *all* operands of the node. `check` proves for every plan that nothing was missed.

use super::Planner;
use super::place::{Base, Kind, Made, Place};
use crate::graph::ValueId;
use crate::kernel::{Halo, Layout};

/// How freely a kernel can write its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freedom {
    /// With any strides.
    Any,
    /// With any strides but one: neighbours along this axis are neighbours.
    Unit(usize),
    /// In its own order and without gaps.
    Dense,
}

impl Freedom {
    fn allows(self, layout: &Layout, order: &[usize]) -> bool {
        match self {
            Freedom::Any => true,
            Freedom::Unit(axis) => layout.is_unit(axis),
            Freedom::Dense => {
                let dense = Layout::ordered(&layout.extents, order);
                let axes = layout.extents.iter().zip(layout.strides.iter().zip(&dense.strides));
                axes.into_iter().all(|(extent, (stride, dense))| *extent == 1 || stride == dense)
            }
        }
    }
}

impl Planner<'_> {
    /// A place for `value`, whose kernel likes `order`. `operands` are all that the node reads in memory that
    /// is written; its steps may write over those in `overwritable`.
    pub(super) fn allocate(
        &mut self,
        value: ValueId,
        order: &[usize],
        freedom: Freedom,
        operands: &[Place],
        overwritable: &[usize],
    ) -> Place {
        let wish = self.foresight.orders[value.0].clone().filter(|wish| {
            freedom != Freedom::Dense
                && freedom.allows(&Layout::ordered(self.graph.extents(value), wish), order)
        });
        let order = wish.as_deref().unwrap_or(order);
        if let Some(place) = self.in_concatenation(value, order, freedom) {
            return place;
        }
        if let Some(place) = self.in_output(value, order, freedom) {
            return place;
        }
        let extents = self.graph.extents(value).to_vec();
        let wish = self.foresight.wishes[value.0].clone().filter(|_| freedom != Freedom::Dense);
        let dense = Layout::ordered(&extents, order);
        let bytes = self.bytes(value);
        for index in overwritable {
            let operand = &operands[*index];
            let alike = operand.layout.extents == extents
                && operand.layout.strides == dense.strides
                && operand.bytes == bytes
                && wish.is_none();
            if alike && self.is_free(operand, operands, overwritable) {
                return Place { room: None, ..operand.clone() };
            }
        }
        self.fresh(&extents, bytes, order, wish.as_ref(), self.foresight.last[value.0])
    }

    /// Whether no later node reads the buffer of an operand, and every operand of this node in that buffer
    /// is overwritable and lies at the same place.
    fn is_free(&self, operand: &Place, operands: &[Place], overwritable: &[usize]) -> bool {
        let Base::Buffer(buffer) = operand.base else { return false };
        let same = |place: &Place| (place.first, &place.layout) == (operand.first, &operand.layout);
        let alone = operands
            .iter()
            .enumerate()
            .all(|(index, place)| place.base != operand.base || overwritable.contains(&index) && same(place));
        self.plan.buffers[buffer].kind == Kind::Arena && self.buffer_last[buffer] <= self.now && alone
    }

    fn in_concatenation(&mut self, value: ValueId, order: &[usize], freedom: Freedom) -> Option<Place> {
        let part = *self.foresight.parts.get(&value)?;
        let extents = self.graph.extents(value).to_vec();
        let whole = match self.joined.get(&part.whole) {
            Some(whole) => whole.clone(),
            None => {
                let like = Layout::ordered(self.graph.extents(part.whole), order);
                let fits = Layout { extents: extents.clone(), strides: like.strides };
                if !freedom.allows(&fits, order) {
                    return None;
                }
                let whole = self.allocate(part.whole, order, Freedom::Any, &[], &[]);
                self.joined.insert(part.whole, whole.clone());
                whole
            }
        };
        let place = whole.part(part.axis, part.start, &extents);
        freedom.allows(&place.layout, order).then_some(place)
    }

    /// Where the host reads it, unless somebody wishes for a border.
    fn in_output(&mut self, value: ValueId, order: &[usize], freedom: Freedom) -> Option<Place> {
        let index = self.graph.outputs.iter().position(|output| output.value == value)?;
        let place = self.whole_tensor(value, self.plan.outputs[index]);
        let fits = freedom.allows(&place.layout, order) && self.foresight.wishes[value.0].is_none();
        fits.then_some(place)
    }

    /// A buffer of its own, with a filled border.
    pub(super) fn fresh(
        &mut self,
        extents: &[u32],
        bytes: u32,
        order: &[usize],
        halo: Option<&Halo>,
        last: usize,
    ) -> Place {
        let Some(halo) = halo else { return self.buffer(Layout::ordered(extents, order), bytes, last) };
        let outer: Vec<u32> = extents
            .iter()
            .zip(&halo.sides)
            .map(|(extent, (before, after))| extent.saturating_add(*before).saturating_add(*after))
            .collect();
        let whole = self.buffer(Layout::ordered(&outer, order), bytes, last);
        let place = Place { room: Some(halo.clone()), ..whole.inside(&halo.sides) };
        self.fill(&place, halo.clone(), Made::Border(halo.value));
        place
    }

    /// A new buffer with this layout.
    fn buffer(&mut self, layout: Layout, bytes: u32, last: usize) -> Place {
        let buffer = self.add_buffer(layout.elements().saturating_mul(bytes.into()), Kind::Arena, last);
        Place { base: Base::Buffer(buffer), first: 0, layout, bytes, room: None }
    }
}
