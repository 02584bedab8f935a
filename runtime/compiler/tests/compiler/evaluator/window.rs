//! Where the windows of convolutions and pools lie along each spatial axis.

use super::attribute::Node;

/// The windows along one axis.
pub struct Window {
    pub input: i64,
    pub kernel: i64,
    pub stride: i64,
    pub dilation: i64,
    pub pad_begin: i64,
    pub pad_end: i64,
    pub output: i64,
}

impl Window {
    /// Where tap `k` of window `o` reads, if that is not padding.
    pub fn read(&self, o: usize, k: usize) -> Option<usize> {
        let place = self.place(o, k);
        (0..self.input).contains(&place).then_some(place as usize)
    }

    /// Where tap `k` of window `o` reads, padding included.
    pub fn place(&self, o: usize, k: usize) -> i64 {
        o as i64 * self.stride + k as i64 * self.dilation - self.pad_begin
    }
}

/// The attribute for an axis, or 1, or 0 for paddings.
pub fn axis_attribute(node: &Node<'_>, name: &str, axis: usize, default: i64) -> i64 {
    node.ints(name).map_or(default, |values| values[axis])
}

/// The windows of a convolution or a pool over `extents` with these kernels.
pub fn windows(node: &Node<'_>, extents: &[usize], kernels: &[usize]) -> Vec<Window> {
    let rank = extents.len();
    let auto_pad = node.string("auto_pad", "NOTSET");
    let one = |axis: usize| {
        let (input, kernel) = (extents[axis] as i64, kernels[axis] as i64);
        let stride = axis_attribute(node, "strides", axis, 1);
        let dilation = axis_attribute(node, "dilations", axis, 1);
        let reach = (kernel - 1) * dilation + 1;
        let (pad_begin, pad_end, output) = match auto_pad.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => {
                let output = (input + stride - 1) / stride;
                let total = ((output - 1) * stride + reach - input).max(0);
                let (less, more) = (total / 2, total - total / 2);
                if auto_pad == "SAME_UPPER" { (less, more, output) } else { (more, less, output) }
            }
            "VALID" => (0, 0, (input - reach) / stride + 1),
            _ => {
                let begin = axis_attribute(node, "pads", axis, 0);
                let end = axis_attribute(node, "pads", axis + rank, 0);
                let room = input + begin + end - reach;
                let mut output = room / stride + 1;
                // One window more that is not full, but none that begins in the padding at the end.
                if node.int("ceil_mode", 0) == 1 && room % stride != 0 && output * stride < input + begin {
                    output += 1;
                }
                (begin, end, output)
            }
        };
        assert!(output > 0, "no window fits");
        Window { input, kernel, stride, dilation, pad_begin, pad_end, output }
    };
    (0..rank).map(one).collect()
}
