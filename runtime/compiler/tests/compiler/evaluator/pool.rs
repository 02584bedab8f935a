//! Pools, over windows and over all spatial axes.

use super::array::{Array, coordinates};
use super::attribute::Node;
use super::window::{Window, windows};

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let x = node.x(0);
    let global = node.op().starts_with("Global");
    let kernels: Vec<usize> = if global {
        x.shape[2..].to_vec()
    } else {
        node.ints("kernel_shape")?.iter().map(|k| *k as usize).collect()
    };
    let p = node.int("p", 2) as f64;
    let include = node.int("count_include_pad", 0) == 1;
    let rule: &dyn Fn(&[f64], usize, usize) -> f64 = match node.op() {
        "MaxPool" | "GlobalMaxPool" => &|taken, _, _| taken.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "AveragePool" | "GlobalAveragePool" => &|taken, within, padded| {
            taken.iter().sum::<f64>() / if include { padded as f64 } else { within as f64 }
        },
        "LpPool" | "GlobalLpPool" => {
            &|taken, _, _| taken.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
        }
        _ => return None,
    };
    let windows = windows(node, &x.shape[2..], &kernels);
    Some(vec![pool(x, &windows, rule)])
}

/// `rule` gets the numbers in a window, how many there are, and how many with the declared padding: what a
/// rounded-up last window has beyond that counts nowhere.
fn pool(x: &Array, windows: &[Window], rule: &dyn Fn(&[f64], usize, usize) -> f64) -> Array {
    let spatial = windows.iter().map(|window| window.output as usize);
    let shape: Vec<usize> = [x.shape[0], x.shape[1]].into_iter().chain(spatial).collect();
    let kernels: Vec<usize> = windows.iter().map(|window| window.kernel as usize).collect();
    let taps = coordinates(&kernels);
    Array::of(x.kind, &shape, |c| {
        let mut taken = vec![];
        let mut padded = 0;
        for tap in &taps {
            let axes = || windows.iter().zip(c[2..].iter().zip(tap));
            let declared =
                axes().all(|(window, (o, k))| window.place(*o, *k) < window.input + window.pad_end);
            padded += usize::from(declared);
            let read = axes().map(|(window, (o, k))| window.read(*o, *k)).collect::<Option<Vec<usize>>>();
            taken.extend(read.map(|read| x.at(&[&c[..2], read.as_slice()].concat())));
        }
        rule(&taken, taken.len(), padded)
    })
}
