//! What a loop nest tells the planner, and how it writes itself.
//!
//! A kernel computes one tensor from others. It is told where the elements of each lie (a [`Layout`]
//! of strides), and tells before what it can deal with: whether an operand must be row-major, whether
//! its neighbours along one axis must be neighbours in memory, whether there must be a border of
//! readable elements round it, and in which order its own result lies best. The planner moves tensors
//! where a wish and the facts differ. An operator with a loop nest of its own is one implementation of
//! [`Kernel`] beside its `lower` function; no pass and no planner has to know it.

use std::fmt;

use dunlin_abi::DType;

use crate::constant::{Constant, ConstantData};
use crate::emit::code::Code;
use crate::emit::expr::Index;
use crate::emit::sweep::Sweep;

/// Bytes of an element while the model computes: truth values are the f32 1 and 0.
pub(crate) fn device_bytes(dtype: DType) -> u32 {
    match dtype {
        DType::I64 | DType::U64 | DType::F64 => 8,
        _ => 4,
    }
}

/// Whether elements of this type are f32 while the model computes.
pub(crate) fn is_number(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::Bool)
}

/// Where the elements of one sample lie, counted in elements from the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// The extents of the axes, outermost first.
    pub(crate) extents: Vec<u32>,
    /// For each axis the distance between neighbours; 0 where the tensor repeats, negative where it
    /// runs backwards.
    pub(crate) strides: Vec<i64>,
}

impl Layout {
    /// Neighbours along the last axis are neighbours in memory, and so on.
    pub(crate) fn row_major(extents: &[u32]) -> Layout {
        let order: Vec<usize> = (0..extents.len()).collect();
        Layout::ordered(extents, &order)
    }

    /// Without gaps, with the axes in this order, outermost first.
    pub(crate) fn ordered(extents: &[u32], order: &[usize]) -> Layout {
        let mut strides = vec![0; extents.len()];
        let mut step = 1i64;
        for axis in order.iter().rev() {
            strides[*axis] = step;
            step = step.saturating_mul(extents[*axis].into());
        }
        Layout { extents: extents.to_vec(), strides }
    }

    /// The elements.
    pub(crate) fn elements(&self) -> u64 {
        self.extents.iter().fold(1, |product, extent| product.saturating_mul(u64::from(*extent)))
    }

    /// Whether the elements lie as [`Layout::row_major`] has them; axes of extent 1 may have any stride.
    pub(crate) fn is_row_major(&self) -> bool {
        let dense = Layout::row_major(&self.extents);
        let axes = self.extents.iter().zip(self.strides.iter().zip(&dense.strides));
        axes.into_iter().all(|(extent, (stride, dense))| *extent == 1 || stride == dense)
    }

    /// Whether neighbours along `axis` are neighbours in memory.
    pub(crate) fn is_unit(&self, axis: usize) -> bool {
        self.extents[axis] == 1 || self.strides[axis] == 1
    }

    /// The axes from the largest stride to the smallest; axes of one stride keep their order.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.extents.len()).collect();
        order.sort_by_key(|axis| std::cmp::Reverse(self.strides[*axis].unsigned_abs()));
        order
    }
}

/// What a kernel needs of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// Nothing: any strides do.
    Any,
    /// Row-major without gaps.
    RowMajor,
    /// Neighbours along this axis are neighbours in memory; the other strides are free.
    Unit(usize),
}

/// A border round an operand that a kernel reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Halo {
    /// For each axis the elements before the first and behind the last.
    pub(crate) sides: Vec<(u32, u32)>,
    /// What is read there, by its bits.
    pub(crate) value: u32,
}

/// Elements that a kernel reads or writes: the distance of the first from the first of a tensor, and a layout
/// from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// The distance of its first element, in elements.
    pub(crate) first: i64,
    /// Its axes.
    pub(crate) layout: Layout,
}

impl Region {
    /// All elements of a tensor.
    pub(crate) fn whole(layout: &Layout) -> Vec<Region> {
        vec![Region { first: 0, layout: layout.clone() }]
    }

    /// The region with axes of these extents and strides.
    pub(crate) fn of(first: i64, axes: impl IntoIterator<Item = (u32, i64)>) -> Region {
        let (extents, strides) = axes.into_iter().unzip();
        Region { first, layout: Layout { extents, strides } }
    }
}

/// A tensor while a kernel is written.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    /// The address of its first element.
    pub(crate) at: Index,
    /// Where its elements lie.
    pub(crate) layout: Layout,
}

/// A loop nest that computes one tensor.
pub(crate) trait Kernel: fmt::Debug {
    /// What it is, with its geometry, for people: "softmax over 10".
    fn title(&self) -> String;

    /// Multiply-accumulates of one sample, whose result has so many elements.
    fn macs(&self, elements: u64) -> u64 {
        let _ = elements;
        0
    }

    /// Columns of a block of its weights, if there are several ways to pack them.
    fn block(&self) -> Option<u32> {
        None
    }

    /// Whether every number of its result is a probability.
    fn is_probability(&self) -> bool {
        false
    }

    /// Whether operand `index` may have elements of this type; float32 and truth values, which are the f32 1
    /// and 0 while the model computes, unless said otherwise.
    fn takes(&self, index: usize, dtype: DType) -> bool {
        let _ = index;
        is_number(dtype)
    }

    /// The elements of operand `index` that it reads besides the border; all of them unless said otherwise.
    /// `y` is the layout of the result.
    fn reads(&self, index: usize, operand: &Layout, y: &Layout) -> Vec<Region> {
        let _ = (index, y);
        Region::whole(operand)
    }

    /// The elements of its result that it writes.
    fn writes(&self, y: &Layout) -> Vec<Region> {
        Region::whole(y)
    }

    /// What it needs of operand `index`.
    fn want(&self, index: usize) -> Want {
        let _ = index;
        Want::RowMajor
    }

    /// The border that it reads round operand `index`.
    fn halo(&self, index: usize) -> Option<Halo> {
        let _ = index;
        None
    }

    /// The order of the result's axes in memory, outermost first; row-major unless said otherwise.
    fn order(&self, rank: usize) -> Vec<usize> {
        (0..rank).collect()
    }

    /// The same for operands that lie like this; only kernels that want nothing of operand 0 need it.
    fn order_for(&self, operands: &[&Layout], rank: usize) -> Vec<usize> {
        let _ = operands;
        self.order(rank)
    }

    /// Whether the result may have any strides.
    fn anywhere(&self) -> bool {
        false
    }

    /// Whether the result may lie in a larger tensor, and along which axis its neighbours must then
    /// still be neighbours in memory. A kernel without this writes its whole result without gaps.
    fn strided(&self) -> Option<usize> {
        None
    }

    /// Bytes of memory for its own use; their address is the last pointer.
    fn scratch_bytes(&self) -> u64 {
        0
    }

    /// Whether it may write its result over operand `index`, if both lie alike: it then reads each place
    /// before it writes it, and never again. `layout::allocate` has the rule that this is a part of.
    fn in_place(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// This kernel as a sweep, if it is one: passes put sweeps together.
    fn as_sweep(&self) -> Option<&Sweep> {
        None
    }

    /// Writes the code: `y` from the operands.
    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], scratch: Option<Index>);

    /// The result, row-major, if all operands are known and it is worth it.
    fn evaluate(&self, operands: &[&Constant]) -> Option<ConstantData> {
        let _ = operands;
        None
    }
}
