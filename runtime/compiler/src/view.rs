//! Views: the elements of one tensor as another one sees them, without moving any.
//!
//! A view is a [`Layout`] and the distance of its first element from that of the tensor. Whatever only
//! renames places (a transposition, a slice, a repetition) always has one; another shape has one
//! where the axes that it joins or cuts lie one inside the other.

use crate::graph::Rearrange;
use crate::kernel::Layout;

impl Layout {
    /// The view that `rearrange` gives, with the distance of its first element; `None` if the elements
    /// would have to move. `extents` are those of the result.
    pub(crate) fn rearranged(&self, rearrange: &Rearrange, extents: &[u32]) -> Option<(i64, Layout)> {
        match rearrange {
            Rearrange::Reshape => Some((0, self.reshaped(extents)?)),
            Rearrange::Expand => Some((0, self.broadcast(extents))),
            Rearrange::Transpose(axes) => {
                let strides = axes.iter().map(|axis| self.strides[*axis]).collect();
                Some((0, Layout { extents: extents.to_vec(), strides }))
            }
            Rearrange::Slice(steps) => {
                let axes = steps.iter().zip(&self.strides);
                let first = axes.clone().map(|((start, _), stride)| i64::from(*start) * stride).sum();
                let strides = axes.map(|((_, step), stride)| i64::from(*step) * stride).collect();
                Some((first, Layout { extents: extents.to_vec(), strides }))
            }
        }
    }

    /// The view in which axes of extent 1, and missing ones in front, repeat.
    pub(crate) fn broadcast(&self, extents: &[u32]) -> Layout {
        let missing = extents.len().saturating_sub(self.extents.len());
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if self.extents[own] != 1 => self.strides[own],
            Some(_) | None => 0,
        };
        Layout { extents: extents.to_vec(), strides: (0..extents.len()).map(stride).collect() }
    }

    /// The view under another shape with as many elements.
    ///
    /// Both shapes are read from the front in groups of axes with equal products; the old axes of a
    /// group must lie one inside the other, and the new ones are cut from them.
    fn reshaped(&self, extents: &[u32]) -> Option<Layout> {
        let old: Vec<(u64, i64)> = self
            .extents
            .iter()
            .zip(&self.strides)
            .filter(|(extent, _)| **extent != 1)
            .map(|(extent, stride)| (u64::from(*extent), *stride))
            .collect();
        let mut strides = vec![0; extents.len()];
        let (mut from, mut to) = (0, 0);
        while from < old.len() {
            let (first_old, first_new) = (from, to);
            let (mut have, mut want) = (1u64, 1u64);
            loop {
                if have == want && have > 1 {
                    break;
                }
                if have <= want {
                    have = have.checked_mul(old.get(from)?.0)?;
                    from += 1;
                } else {
                    want = want.checked_mul(u64::from(*extents.get(to)?))?;
                    to += 1;
                }
            }
            let group = &old[first_old..from];
            let nested = group
                .windows(2)
                .all(|pair| i64::try_from(pair[1].0).is_ok_and(|len| pair[0].1 == pair[1].1 * len));
            if !nested {
                return None;
            }
            let mut step = group.last()?.1;
            for axis in (first_new..to).rev() {
                strides[axis] = step;
                step = step.checked_mul(extents[axis].into())?;
            }
        }
        Some(Layout { extents: extents.to_vec(), strides })
    }

    /// The distance of every element from the first, in row-major order of the axes.
    pub(crate) fn places(&self) -> impl ExactSizeIterator<Item = i64> + use<> {
        let axes: Vec<(i64, i64)> = self
            .extents
            .iter()
            .zip(&self.strides)
            .rev()
            .map(|(extent, stride)| ((*extent).into(), *stride))
            .collect();
        let count = usize::try_from(self.elements()).unwrap_or(usize::MAX);
        (0..count).map(move |index| {
            let mut rest = index as i64;
            let mut place = 0;
            for (extent, stride) in &axes {
                place += rest % extent * stride;
                rest /= extent;
            }
            place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(layout: &Layout, rearrange: Rearrange, extents: &[u32]) -> Option<Vec<i64>> {
        let (first, view) = layout.rearranged(&rearrange, extents)?;
        Some(view.places().map(|place| first + place).collect())
    }

    #[test]
    fn a_transposition_and_a_slice_have_a_view() {
        let x = Layout::row_major(&[2, 3]);
        assert_eq!(view(&x, Rearrange::Transpose(vec![1, 0]), &[3, 2]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(view(&x, Rearrange::Slice(vec![(1, -1), (0, 2)]), &[2, 2]).unwrap(), [3, 5, 0, 2]);
        assert_eq!(
            view(&Layout::row_major(&[2, 1]), Rearrange::Expand, &[2, 2, 2]).unwrap(),
            [0, 0, 1, 1, 0, 0, 1, 1]
        );
    }

    #[test]
    fn another_shape_has_a_view_where_axes_lie_one_inside_the_other() {
        let x = Layout::row_major(&[4, 6]);
        let in_order: Vec<i64> = (0..24).collect();
        for shape in [&[24][..], &[2, 2, 1, 3, 2], &[1, 24], &[8, 3]] {
            assert_eq!(view(&x, Rearrange::Reshape, shape).unwrap(), in_order, "{shape:?}");
        }
        // Channels last: height and width can be joined, channels and height cannot.
        let nhwc = Layout::ordered(&[2, 3, 4], &[1, 2, 0]);
        assert_eq!(nhwc.strides, [1, 8, 2]);
        assert_eq!(nhwc.reshaped(&[2, 12]).unwrap().strides, [1, 2]);
        assert_eq!(nhwc.reshaped(&[2, 3, 2, 2]).unwrap().strides, [1, 8, 4, 2]);
        assert_eq!(nhwc.reshaped(&[24]), None);
        assert_eq!(Layout::row_major(&[]).reshaped(&[1, 1]).unwrap().strides, [0, 0]);
    }
}
