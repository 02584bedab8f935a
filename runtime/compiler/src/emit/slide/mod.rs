//! Windows that slide over each channel by itself: depthwise convolutions and pools.
//!
//! ```text
//! for n.. in the axes before the channels, for each row of the result
//!   for each block of channels                         vectors of neighbours in memory
//!     for each tile of places along the row
//!       acc[p, v] = bias[v], or 0, or -inf
//!       for t.. in taps: acc[p, v] = fold(acc[p, v], x[p, t.., v], w[t.., v])      see `tile`
//!       y[p, v] = epilogue(acc[p, v], extras[p, v]..)
//! ```
//! The fold multiplies and adds (a depthwise convolution), adds (an average), or takes the greater one.
//! Padding is the border round x. Channels lie innermost, so that no lane ever waits for another.

mod plan;
mod tile;

pub(crate) use plan::pack;

use super::code::Code;
use super::expr::Index;
use crate::graph::Window;
use crate::kernel::{Halo, Kernel, Layout, Operand, Region, Want};
use crate::program::Program;
use plan::{Blocks, Plan};
use tile::Tile;

/// How the numbers of a window become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// The sum of the products with the weights, which are operand 1; operand 2 is the bias, if there is one.
    Weighted {
        /// Whether there is a bias.
        bias: bool,
    },
    /// The sum.
    Sum,
    /// The greatest number.
    Max,
}

/// A window over each channel of x `[…, C, spatial…]`. Operands: x, then what the fold needs, then the
/// extras of the epilogue, which broadcast to the result.
#[derive(Clone, Debug)]
pub(crate) struct Slide {
    /// What it is, for people.
    pub(crate) name: String,
    /// The axis of the channels.
    pub(crate) channel: usize,
    /// One or two, for the axes behind the channels.
    pub(crate) windows: Vec<Window>,
    /// How the numbers of a window become one.
    pub(crate) fold: Fold,
    /// What is applied before a number is stored: operand 0 is what was folded, then come the extras.
    pub(crate) epilogue: Program,
}

/// A pointer with its strides along the axes of the result, in elements.
#[derive(Clone, Debug)]
struct Walk {
    at: Index,
    strides: Vec<i64>,
}

impl Walk {
    fn of(operand: &Operand, extents: &[u32]) -> Walk {
        Walk { at: operand.at, strides: operand.layout.broadcast(extents).strides }
    }
}

/// Everything that a tile reads and writes.
struct Walks {
    y: Walk,
    x: Walk,
    /// Weights, a bias: they move with the blocks of channels only.
    w: Option<Index>,
    bias: Option<Index>,
    extras: Vec<Walk>,
}

impl Kernel for Slide {
    fn title(&self) -> String {
        let sizes: Vec<String> = self.windows.iter().map(|window| window.size.to_string()).collect();
        format!("{} {}", self.name, sizes.join("x"))
    }

    fn macs(&self, elements: u64) -> u64 {
        match self.fold {
            Fold::Weighted { .. } => {
                self.windows.iter().fold(elements, |macs, window| macs.saturating_mul(window.size.into()))
            }
            Fold::Sum | Fold::Max => 0,
        }
    }

    fn want(&self, index: usize) -> Want {
        if index == 0 { Want::Unit(self.channel) } else { Want::Any }
    }

    fn halo(&self, index: usize) -> Option<Halo> {
        let mut sides = vec![(0, 0); self.channel + 1];
        sides.extend(self.windows.iter().map(|window| (window.before, window.after)));
        let value = if self.fold == Fold::Max { f32::NEG_INFINITY } else { 0.0 };
        (index == 0).then(|| Halo { sides, value: value.to_bits() })
    }

    fn reads(&self, index: usize, operand: &Layout, y: &Layout) -> Vec<Region> {
        if index == 0 {
            return vec![self.reached(operand, y)];
        }
        Region::whole(&if index < self.first_extra() {
            operand.clone()
        } else {
            operand.broadcast(&y.extents)
        })
    }

    fn in_place(&self, index: usize) -> bool {
        index >= self.first_extra()
    }

    fn order(&self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|axis| *axis != self.channel).chain([self.channel]).collect()
    }

    fn strided(&self) -> Option<usize> {
        Some(self.channel)
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let Some((walks, first)) = self.walks(y, operands) else { return };
        let plan = Plan::of(&self.windows, &y.layout.extents, self.fold, code.lanes());
        code.advance(walks.x.at, first * 4);
        let outer: Vec<usize> = (0..self.channel).chain(self.across().map(|axis| axis.0)).collect();
        self.rows(code, &plan, &walks, &y.layout, &outer);
    }
}

impl Slide {
    /// The first operand that the epilogue reads.
    fn first_extra(&self) -> usize {
        match self.fold {
            Fold::Weighted { bias } => 2 + usize::from(bias),
            Fold::Sum | Fold::Max => 1,
        }
    }

    /// All places of x that a window sees.
    fn reached(&self, x: &Layout, y: &Layout) -> Region {
        let mut axes: Vec<(u32, i64)> = y.extents.iter().copied().zip(x.strides.iter().copied()).collect();
        let mut first = 0;
        for (axis, window) in (self.channel + 1..).zip(&self.windows) {
            let stride = x.strides[axis];
            first -= i64::from(window.before) * stride;
            axes[axis].1 = stride * i64::from(window.stride);
            axes.push((window.size, stride * i64::from(window.dilation)));
        }
        Region::of(first, axes)
    }

    /// The pointers, and the distance from the first element of x to the first window.
    fn walks(&self, y: &Operand, operands: &[Operand]) -> Option<(Walks, i64)> {
        let extents = &y.layout.extents;
        let (x, mut rest) = operands.split_first()?;
        let mut take = |wanted: bool| -> Option<Option<Index>> {
            if !wanted {
                return Some(None);
            }
            let (first, others) = rest.split_first()?;
            rest = others;
            Some(Some(first.at))
        };
        let w = take(matches!(self.fold, Fold::Weighted { .. }))?;
        let bias = take(self.fold == Fold::Weighted { bias: true })?;
        let mut strides = x.layout.strides.clone();
        let mut first = 0;
        for (window, stride) in self.windows.iter().zip(&mut strides[self.channel + 1..]) {
            first -= i64::from(window.before) * *stride;
            *stride *= i64::from(window.stride);
        }
        let extras = rest.iter().map(|extra| Walk::of(extra, extents)).collect();
        let y = Walk { at: y.at, strides: y.layout.strides.clone() };
        Some((Walks { y, x: Walk { at: x.at, strides }, w, bias, extras }, first))
    }

    /// The axis across the rows with its window, if there are two axes.
    fn across(&self) -> Option<(usize, Window)> {
        match self.windows.as_slice() {
            [across, _] => Some((self.channel + 1, *across)),
            _ => None,
        }
    }

    /// Loops over the axes in `outer`, and over blocks and tiles; leaves the pointers where they were.
    fn rows(&self, code: &mut Code, plan: &Plan, walks: &Walks, y: &Layout, outer: &[usize]) {
        let Some((axis, inner)) = outer.split_first() else { return self.blocks(code, plan, walks, y) };
        let len = y.extents[*axis];
        code.counted(len, |code| {
            self.rows(code, plan, walks, y, inner);
            if len > 1 {
                walks.advance(code, *axis, 1);
            }
        });
        if len > 1 {
            walks.advance(code, *axis, -i64::from(len));
        }
    }

    fn blocks(&self, code: &mut Code, plan: &Plan, walks: &Walks, y: &Layout) {
        let mut moved = 0;
        for Blocks { count, vectors, last_lanes } in &plan.blocks {
            let width = i64::from(vectors * code.lanes());
            let step = |code: &mut Code, times: i64| {
                walks.advance(code, self.channel, width * times);
                if let Some(w) = walks.w {
                    code.advance(w, width * times * plan.taps * 4);
                }
                if let Some(bias) = walks.bias {
                    code.advance(bias, width * times * 4);
                }
            };
            code.counted(*count, |code| {
                self.tiles(code, plan, walks, y, (*vectors, *last_lanes));
                step(code, 1);
            });
            moved += width * i64::from(*count);
        }
        walks.advance(code, self.channel, -moved);
        if let Some(w) = walks.w {
            code.advance(w, -moved * plan.taps * 4);
        }
        if let Some(bias) = walks.bias {
            code.advance(bias, -moved * 4);
        }
    }

    /// The tiles along a row.
    fn tiles(&self, code: &mut Code, plan: &Plan, walks: &Walks, y: &Layout, block: (u32, u32)) {
        let along = y.extents.len() - 1;
        let Some(window) = self.windows.last() else { return };
        for (count, places) in &plan.tiles {
            let tile = Tile {
                places: *places,
                vectors: block.0,
                last_lanes: block.1,
                along: *window,
                across: self.across().map(|axis| axis.1),
                fold: self.fold,
                epilogue: &self.epilogue,
            };
            code.counted(*count, |code| {
                tile.emit(code, walks, (self.channel, along));
                walks.advance(code, along, (*places).into());
            });
        }
        walks.advance(code, along, -i64::from(y.extents[along]));
    }
}

impl Walks {
    /// Moves what moves along an axis of the result.
    fn advance(&self, code: &mut Code, axis: usize, steps: i64) {
        for walk in [&self.y, &self.x].into_iter().chain(&self.extras) {
            code.advance(walk.at, walk.strides[axis] * steps * 4);
        }
    }
}
