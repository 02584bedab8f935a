//! Conv and ConvTranspose over any number of spatial axes.

use super::array::{Array, coordinates};
use super::attribute::Node;
use super::window::{Window, axis_attribute, windows};

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "Conv" => conv(node),
        "ConvTranspose" => transposed(node),
        _ => return None,
    };
    Some(vec![result])
}

/// W is `[outputs, inputs / group, kernel...]`.
fn conv(node: &Node<'_>) -> Array {
    let (x, w) = (node.x(0), node.x(1));
    let group = node.int("group", 1) as usize;
    let windows = windows(node, &x.shape[2..], &w.shape[2..]);
    let per_group = w.shape[0] / group;
    assert_eq!(x.shape[1], w.shape[1] * group);
    let spatial = windows.iter().map(|window| window.output as usize);
    let shape: Vec<usize> = [x.shape[0], w.shape[0]].into_iter().chain(spatial).collect();
    let taps = coordinates(&w.shape[2..]);
    Array::of(x.kind, &shape, |c| {
        let (sample, output, places) = (c[0], c[1], &c[2..]);
        let mut sum = node.optional(2).map_or(0.0, |bias| bias.at(&[output]));
        for tap in &taps {
            let read = windows.iter().zip(places.iter().zip(tap)).map(|(window, (o, k))| window.read(*o, *k));
            let Some(read) = read.collect::<Option<Vec<usize>>>() else { continue };
            for input in 0..w.shape[1] {
                let channel = output / per_group * w.shape[1] + input;
                sum += x.at(&[&[sample, channel], read.as_slice()].concat())
                    * w.at(&[&[output, input], tap.as_slice()].concat());
            }
        }
        sum
    })
}

/// W is `[inputs, outputs / group, kernel...]`: input `i` goes to `i * stride + k * dilation - pad_begin`.
fn transposed(node: &Node<'_>) -> Array {
    let (x, w) = (node.x(0), node.x(1));
    let group = node.int("group", 1) as usize;
    let (inputs, outputs) = (w.shape[0] / group, w.shape[1]);
    let windows: Vec<Window> = (0..x.rank() - 2).map(|axis| transposed_window(node, axis)).collect();
    let spatial = windows.iter().map(|window| window.output as usize);
    let shape: Vec<usize> = [x.shape[0], outputs * group].into_iter().chain(spatial).collect();
    let taps = coordinates(&w.shape[2..]);
    Array::of(x.kind, &shape, |c| {
        let (sample, output, places) = (c[0], c[1], &c[2..]);
        let mut sum = node.optional(2).map_or(0.0, |bias| bias.at(&[output]));
        for tap in &taps {
            let from = windows.iter().zip(places.iter().zip(tap)).map(|(window, (o, k))| {
                let scaled = *o as i64 + window.pad_begin - *k as i64 * window.dilation;
                let from = scaled / window.stride;
                (scaled >= 0 && scaled % window.stride == 0 && from < window.input).then_some(from as usize)
            });
            let Some(from) = from.collect::<Option<Vec<usize>>>() else { continue };
            for input in 0..inputs {
                let channel = output / outputs * inputs + input;
                sum += x.at(&[&[sample, channel], from.as_slice()].concat())
                    * w.at(&[&[channel, output % outputs], tap.as_slice()].concat());
            }
        }
        sum
    })
}

fn transposed_window(node: &Node<'_>, axis: usize) -> Window {
    let rank = node.x(0).rank() - 2;
    let (input, kernel) = (node.x(0).shape[axis + 2] as i64, node.x(1).shape[axis + 2] as i64);
    let stride = axis_attribute(node, "strides", axis, 1);
    let dilation = axis_attribute(node, "dilations", axis, 1);
    let auto_pad = node.string("auto_pad", "NOTSET");
    let added = axis_attribute(node, "output_padding", axis, 0);
    let full = stride * (input - 1) + added + (kernel - 1) * dilation + 1;
    let same = auto_pad.starts_with("SAME").then_some(input * stride);
    let wanted = node.ints("output_shape").map(|shape| shape[shape.len() - rank + axis]).or(same);
    let (pad_begin, pad_end) = match wanted {
        Some(output) => {
            let total = (full - output).max(0);
            let (less, more) = (total / 2, total - total / 2);
            if auto_pad == "SAME_UPPER" { (less, more) } else { (more, less) }
        }
        None if auto_pad == "VALID" => (0, 0),
        None => (axis_attribute(node, "pads", axis, 0), axis_attribute(node, "pads", axis + rank, 0)),
    };
    let output = wanted.unwrap_or(full - pad_begin - pad_end);
    Window { input, kernel, stride, dilation, pad_begin, pad_end, output }
}
