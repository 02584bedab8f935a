//! Windows that are chosen for convolutions and pools.

use crate::builder::{ints, string};
use crate::choices::Choices;
use crate::onnx::AttributeProto;

pub struct Windows {
    pub kernels: Vec<usize>,
    pub extents: Vec<usize>,
    /// All but `kernel_shape`.
    pub attributes: Vec<AttributeProto>,
}

impl Windows {
    /// Every window sees at least one number that is not padding. For pools, that ONNX and onnxruntime mean
    /// the same: with SAME there are no dilations, and no strides beyond the kernel.
    pub fn choose(c: &mut Choices, rank: usize, dilated: bool, pool: bool) -> Windows {
        let mut windows = Windows { kernels: vec![], extents: vec![], attributes: vec![] };
        let (mut strides, mut dilations, mut begins, mut ends) = (vec![], vec![], vec![], vec![]);
        let auto_pad = c.one_of(&["", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]);
        let explicit = matches!(auto_pad, "" | "NOTSET");
        for _ in 0..rank {
            let kernel = c.one_of(&[1, 2, 3, 4, 5]);
            let same_pool = pool && auto_pad.starts_with("SAME");
            let stride = c.int(1, 3).min(if same_pool { kernel as i64 } else { 3 });
            let dilation = if dilated && !same_pool { c.one_of(&[1, 1, 2, 3]) } else { 1 };
            let reach = (kernel - 1) * dilation + 1;
            let (begin, end) = if explicit { (c.pick(kernel), c.pick(kernel)) } else { (0, 0) };
            let least = if auto_pad.starts_with("SAME") { 1 } else { reach.saturating_sub(begin + end) };
            let extent = least.max(dilation).max(1) + c.one_of(&[0, 1, 2, 3, 5, 8, 14]);
            windows.kernels.push(kernel);
            windows.extents.push(extent);
            strides.push(stride);
            dilations.push(dilation as i64);
            begins.push(begin as i64);
            ends.push(end as i64);
        }
        if !auto_pad.is_empty() {
            windows.attributes.push(string("auto_pad", auto_pad));
        }
        // An attribute of nothing but defaults may be absent.
        if strides.iter().any(|s| *s != 1) || c.flag() {
            windows.attributes.push(ints("strides", &strides));
        }
        if dilations.iter().any(|d| *d != 1) {
            windows.attributes.push(ints("dilations", &dilations));
        }
        if explicit && (begins.iter().chain(&ends).any(|p| *p != 0)) {
            windows.attributes.push(ints("pads", &[begins, ends].concat()));
        }
        windows
    }

    pub fn kernel_shape(&self) -> AttributeProto {
        let kernels: Vec<i64> = self.kernels.iter().map(|k| *k as i64).collect();
        ints("kernel_shape", &kernels)
    }
}

/// Groups, and how many channels of input and output each has.
pub fn groups(c: &mut Choices) -> (usize, usize, usize) {
    match c.pick(4) {
        // Depthwise, with a multiplier.
        0 => (c.one_of(&[1, 3, 4, 8, 17]), 1, c.one_of(&[1, 1, 2, 3])),
        1 => (c.between(2, 3), c.between(1, 5), c.between(1, 5)),
        2 => (1, c.between(1, 9), c.between(1, 9)),
        _ => (1, c.one_of(&[1, 3, 4, 16, 17]), c.one_of(&[1, 4, 8, 15, 16, 33])),
    }
}
