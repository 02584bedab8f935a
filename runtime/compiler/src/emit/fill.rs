//! A border of one value round a tensor: what a sliding window reads beyond its edges.
//!
//! ```text
//! for each axis with a border, from the outermost
//!   the slabs before and behind, over the whole of the axes inside it
//! ```

use super::code::Code;
use super::expr::{Expr, Index};
use crate::kernel::{Halo, Kernel, Layout, Operand, Region};

/// Fills the border of its result; the inside is somebody else's.
#[derive(Debug)]
pub(crate) struct Fill {
    /// The border.
    pub(crate) halo: Halo,
}

impl Kernel for Fill {
    fn title(&self) -> String {
        "border".to_string()
    }

    fn writes(&self, y: &Layout) -> Vec<Region> {
        self.slabs(y).into_iter().map(|slab| Region::of(slab.first, slab.axes)).collect()
    }

    fn emit(&self, code: &mut Code, y: &Operand, _: &[Operand], _: Option<Index>) {
        self.slabs(&y.layout).into_iter().for_each(|slab| self.fill(code, y.at, slab));
    }
}

/// A box of elements: the distance of the first, and extents with strides, outermost first.
struct Slab {
    first: i64,
    axes: Vec<(u32, i64)>,
}

impl Fill {
    /// The parts of the border, in the order in which they are filled.
    fn slabs(&self, y: &Layout) -> Vec<Slab> {
        let mut slabs = Vec::new();
        // Whether an axis counts with its border yet.
        let mut done = vec![false; y.extents.len()];
        for axis in y.order() {
            let (before, after) = self.halo.sides[axis];
            for (start, len) in [(-i64::from(before), before), (i64::from(y.extents[axis]), after)] {
                if len > 0 {
                    slabs.push(self.slab(y, &done, axis, (start, len)));
                }
            }
            done[axis] = true;
        }
        slabs
    }

    /// The part of the border at one end of `axis`: inside the extents of the axes that are done, over
    /// the whole of those that are not.
    fn slab(&self, y: &Layout, done: &[bool], axis: usize, (start, len): (i64, u32)) -> Slab {
        let mut slab = Slab { first: 0, axes: Vec::new() };
        for other in y.order() {
            let (extent, stride) = (y.extents[other], y.strides[other]);
            let (before, after) = self.halo.sides[other];
            let (start, len) = match (other == axis, done[other]) {
                (true, _) => (start, len),
                (false, true) => (0, extent),
                (false, false) => (-i64::from(before), extent + before + after),
            };
            slab.first += start * stride;
            match slab.axes.last_mut() {
                Some((outer, step)) if *step == stride * i64::from(len) => {
                    (*outer, *step) = (*outer * len, stride)
                }
                Some(_) | None => slab.axes.push((len, stride)),
            }
        }
        slab
    }

    fn fill(&self, code: &mut Code, at: Index, slab: Slab) {
        let at = code.copy(at);
        code.advance(at, slab.first * 4);
        let value = code.set(Expr::Bits(self.halo.value));
        nest(code, &slab.axes, at, &mut |code, (len, stride)| {
            if stride == 1 {
                code.along(len, 4, &[at], |code, offset, lanes| code.store(at, offset, lanes, value));
                code.advance(at, -4 * i64::from(len));
            } else {
                code.counted(len, |code| {
                    code.store(at, 0, 1, value);
                    code.advance(at, stride * 4);
                });
                code.advance(at, -stride * 4 * i64::from(len));
            }
        });
    }
}

fn nest(code: &mut Code, axes: &[(u32, i64)], at: Index, body: &mut dyn FnMut(&mut Code, (u32, i64))) {
    match axes {
        [] => {}
        [inner] => body(code, *inner),
        [(len, stride), inner @ ..] => {
            code.counted(*len, |code| {
                nest(code, inner, at, body);
                code.advance(at, stride * 4);
            });
            code.advance(at, -stride * 4 * i64::from(*len));
        }
    }
}
