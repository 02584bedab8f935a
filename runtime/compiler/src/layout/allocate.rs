//! Where a result goes: into a concatenation, where the host reads it, over an operand that is not needed
//! any more, or into a buffer of its own, with the border that its readers wish for.

use std::rc::Rc;

use super::Planner;
use super::place::{Base, Kind, Place, Step};
use crate::emit::fill::Fill;
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
    /// A place for `value`, whose kernel likes `order` and may write over the operands in `reusable`.
    pub(super) fn allocate(
        &mut self,
        value: ValueId,
        order: &[usize],
        freedom: Freedom,
        operands: &[Place],
        reusable: &[usize],
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
        for index in reusable {
            let operand = &operands[*index];
            let alike = operand.layout.extents == extents
                && operand.layout.strides == dense.strides
                && wish.is_none();
            if alike && self.is_free(operand, operands, *index) {
                return Place { room: None, ..operand.clone() };
            }
        }
        self.fresh(&extents, order, wish.as_ref(), self.foresight.last[value.0])
    }

    /// Whether nobody reads the buffer of an operand behind this node, and no other operand is in it.
    fn is_free(&self, operand: &Place, operands: &[Place], index: usize) -> bool {
        let Base::Buffer(buffer) = operand.base else { return false };
        let alone = operands.iter().enumerate().all(|(other, place)| {
            other == index
                || place.base != operand.base
                || (place.first == operand.first && place.layout == operand.layout)
        });
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
        let layout = Layout::row_major(self.graph.extents(value));
        let fits = freedom.allows(&layout, order) && self.foresight.wishes[value.0].is_none();
        fits.then(|| Place { base: Base::Buffer(self.plan.outputs[index]), first: 0, layout, room: None })
    }

    /// A buffer of its own, with a filled border.
    pub(super) fn fresh(
        &mut self,
        extents: &[u32],
        order: &[usize],
        halo: Option<&Halo>,
        last: usize,
    ) -> Place {
        let Some(halo) = halo else {
            let layout = Layout::ordered(extents, order);
            let buffer = self.add_buffer(layout.elements(), Kind::Arena, last);
            return Place { base: Base::Buffer(buffer), first: 0, layout, room: None };
        };
        let outer: Vec<u32> = extents
            .iter()
            .zip(&halo.sides)
            .map(|(extent, (before, after))| extent.saturating_add(*before).saturating_add(*after))
            .collect();
        let layout = Layout::ordered(&outer, order);
        let buffer = self.add_buffer(layout.elements(), Kind::Arena, last);
        let whole = Place { base: Base::Buffer(buffer), first: 0, layout, room: None };
        let place = Place { room: Some(halo.clone()), ..whole.inside(&halo.sides) };
        let origins = self.graph.nodes.get(self.now).map(|node| node.origins.clone()).unwrap_or_default();
        let kernel = Rc::new(Fill { halo: halo.clone() });
        self.plan.steps.push(Step { kernel, y: place.clone(), operands: Vec::new(), scratch: None, origins });
        place
    }
}
