//! Convolutions: which places of the operand each place of the result reads, and the kernels for it.
//!
//! - A **convolution** is a contraction: its rows are the places of its result, its sums the taps of its
//!   window and the channels of a group, its columns the channels of its result, which are neighbours in
//!   memory. Padding is the border round its operand.
//! - A **depthwise** one, in which every group has one channel, is a slide: its lanes are the channels.
//! - A **transposed** one has a [`Phase`] for each remainder of a place of the result by the stride: the
//!   places of one phase all see the same taps, so that each phase is a convolution with some of the taps,
//!   which writes every so many places of the result.

use std::rc::Rc;

use super::contraction::{Job, Rest, allocate, bias, extra, extras, run, weights};
use super::place::Place;
use super::{Planner, fault};
use crate::emit::code::lanes;
use crate::emit::contract::{self, Contract, RowAxis, SumAxis, Weights};
use crate::emit::pointwise::Pointwise;
use crate::emit::slide::{self, Fold, Slide};
use crate::error::CompileError;
use crate::graph::{Conv, Graph, Node, Rearrange, Window};
use crate::kernel::{Halo, Layout, Want};
use crate::program::{Formula, Program};

/// Some places of the result along one axis: place `y_first + o * y_step` is the sum over j of
/// `x[x_first + o * x_step + j * x_dilation] * w[taps[j]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Phase {
    outputs: u32,
    y_first: u32,
    y_step: u32,
    x_first: i64,
    x_step: u32,
    x_dilation: u32,
    taps: Vec<u32>,
}

impl Phase {
    /// The phases of a window along an axis of the result of this extent.
    fn all(window: &Window, transposed: bool, extent: u32) -> Vec<Phase> {
        if transposed {
            return (0..window.stride.min(extent))
                .map(|first| Phase::transposed(window, first, extent))
                .collect();
        }
        vec![Phase {
            outputs: extent,
            y_first: 0,
            y_step: 1,
            x_first: -i64::from(window.before),
            x_step: window.stride,
            x_dilation: window.dilation,
            taps: (0..window.size).collect(),
        }]
    }

    /// Place o of the result gets `x[i] * w[k]` wherever `i * stride + k * dilation - before = o`. From one
    /// place of a phase to the next, every i grows by 1; the taps are taken from the last, so that i grows.
    fn transposed(window: &Window, y_first: u32, extent: u32) -> Phase {
        let stride = i64::from(window.stride);
        let from = |tap: u32| {
            i64::from(y_first) + i64::from(window.before) - i64::from(tap) * i64::from(window.dilation)
        };
        let taps: Vec<u32> = (0..window.size).rev().filter(|tap| from(*tap) % stride == 0).collect();
        let place = |index: usize| taps.get(index).map(|tap| from(*tap) / stride);
        let x_first = place(0).unwrap_or(0);
        let x_dilation = place(1).map_or(1, |second| u32::try_from(second - x_first).unwrap_or(1));
        let outputs = (extent - y_first).div_ceil(window.stride);
        Phase { outputs, y_first, y_step: window.stride, x_first, x_step: 1, x_dilation, taps }
    }

    /// Elements that are read before the first and behind the last of an axis of this extent.
    fn sides(&self, extent: u32) -> (u32, u32) {
        let Some(more) = self.taps.len().checked_sub(1) else { return (0, 0) };
        let reach = more as i64 * i64::from(self.x_dilation);
        let last = self.x_first + i64::from(self.outputs.saturating_sub(1)) * i64::from(self.x_step) + reach;
        let side = |elements: i64| u32::try_from(elements.max(0)).unwrap_or(u32::MAX);
        (side(-self.x_first), side(last - (i64::from(extent) - 1)))
    }
}

/// The border that a convolution reads round its operand.
pub(super) fn halo(graph: &Graph, node: &Node, conv: &Conv) -> Option<Halo> {
    let (x, y) = (graph.extents(*node.inputs.first()?), graph.extents(node.output));
    let front = x.len() - conv.windows.len();
    let mut sides = vec![(0, 0); front];
    for ((window, x), y) in conv.windows.iter().zip(&x[front..]).zip(&y[front..]) {
        let phases = Phase::all(window, conv.transposed, *y);
        let all = phases.iter().map(|phase| phase.sides(*x));
        sides.push(all.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1))));
    }
    Some(Halo { sides, value: 0f32.to_bits() })
}

/// A convolution with everything that it works on.
struct Work<'a> {
    node: &'a Node,
    conv: &'a Conv,
    /// The axis of the channels, and how many of them each group reads and makes.
    channel: usize,
    per_group: u32,
    columns: u32,
    /// The weights `[groups * columns, per_group, taps…]`, and how many taps there are along each axis.
    numbers: &'a [f32],
    taps: &'a [u32],
    title: String,
    x: Place,
    bias: Option<Place>,
    extras: Vec<Place>,
    y: Place,
}

pub(super) fn conv(planner: &mut Planner<'_>, node: &Node, conv: &Conv) -> Result<(), CompileError> {
    let graph = planner.graph;
    let [x, w, ..] = node.inputs.as_slice() else {
        return Err(fault("a convolution of less than two tensors"));
    };
    let [m, per_group, taps @ ..] = graph.extents(*w) else { return Err(fault("weights without axes")) };
    let numbers = graph.constant(*w).and_then(|constant| constant.f32s());
    let numbers = numbers.ok_or_else(|| fault("the weights of a convolution are no constant"))?;
    let extents = graph.extents(node.output).to_vec();
    let channel = extents.len() - conv.windows.len() - 1;
    let columns = m / conv.groups;
    let slides = *per_group == 1 && conv.groups > 1 && !columns.is_multiple_of(4);
    let want = if slides { Want::Unit(channel) } else { Want::Any };
    let x_place = planner.operand(*x, want, halo(graph, node, conv))?;
    let rest = Rest::of(node, conv.bias);
    let extras = extras(planner, &rest, &extents, channel)?;
    let order: Vec<usize> = (0..extents.len()).filter(|axis| *axis != channel).chain([channel]).collect();
    let y = allocate(planner, node, &order, channel, std::iter::once(&x_place), &extras);
    planner.put(node.output, y.clone());
    let bias = bias(planner, &rest)?;
    let kind = if slides { "depthwise" } else { "conv" };
    let sizes: Vec<String> = taps.iter().map(u32::to_string).collect();
    let transposed = if conv.transposed { "transposed " } else { "" };
    let title =
        format!("{transposed}{kind} {} of {} channels to {m}", sizes.join("x"), graph.extents(*x)[channel]);
    let per_group = *per_group;
    let work =
        Work { node, conv, channel, per_group, columns, numbers, taps, title, x: x_place, bias, extras, y };
    let axes = conv.windows.iter().zip(&extents[channel + 1..]);
    let axes: Vec<Vec<Phase>> =
        axes.map(|(window, extent)| Phase::all(window, conv.transposed, *extent)).collect();
    for phases in together(&axes) {
        if phases.iter().any(|phase| phase.taps.is_empty()) {
            work.constant(planner, &phases)?;
        } else if slides {
            work.slide(planner, &phases)?;
        } else {
            work.contract(planner, &phases)?;
        }
    }
    Ok(())
}

/// Every choice of one phase for each axis.
fn together(axes: &[Vec<Phase>]) -> Vec<Vec<Phase>> {
    axes.iter().fold(vec![Vec::new()], |all, axis| {
        let longer = |front: &Vec<Phase>| {
            axis.iter()
                .map(|phase| [front.as_slice(), std::slice::from_ref(phase)].concat())
                .collect::<Vec<_>>()
        };
        all.iter().flat_map(longer).collect()
    })
}

impl Work<'_> {
    /// The part of a place of the result's shape that some phases make.
    fn part(&self, place: &Place, phases: &[Phase]) -> Result<Place, CompileError> {
        let mut extents = place.layout.extents.clone();
        let mut steps = vec![(0, 1); extents.len()];
        for (phase, axis) in phases.iter().zip(self.channel + 1..) {
            extents[axis] = phase.outputs;
            steps[axis] = (phase.y_first, phase.y_step.cast_signed());
        }
        sliced(place, steps, &extents)
    }

    /// Where the operand is read for the first place of some phases.
    fn start(&self, phases: &[Phase]) -> Place {
        let strides = &self.x.layout.strides[self.channel + 1..];
        let first: i64 = phases.iter().zip(strides).map(|(phase, stride)| phase.x_first * stride).sum();
        Place { first: self.x.first + first, ..self.x.clone() }
    }

    /// The place of a tap of some phases in a window of the weights.
    fn tap(&self, phases: &[Phase], mut tap: usize) -> usize {
        let (mut place, mut step) = (0, 1);
        for (phase, size) in phases.iter().zip(self.taps).rev() {
            place += phase.taps[tap % phase.taps.len()] as usize * step;
            tap /= phase.taps.len();
            step *= *size as usize;
        }
        place
    }

    fn window(&self) -> usize {
        self.taps.iter().map(|tap| *tap as usize).product()
    }

    fn contract(&self, planner: &mut Planner<'_>, phases: &[Phase]) -> Result<(), CompileError> {
        let (y, x) = (self.part(&self.y, phases)?, self.start(phases));
        let extras =
            self.extras.iter().map(|extra| self.part(extra, phases)).collect::<Result<Vec<_>, _>>()?;
        let (channel, groups, columns) = (self.channel, self.conv.groups, self.columns);
        let (xs, ys) = (&x.layout.strides, &y.layout.strides);
        let row = |axis: usize, step: u32| RowAxis {
            len: y.layout.extents[axis],
            x: xs[axis] * i64::from(step),
            y: ys[axis],
            w: 0,
            bias: 0,
        };
        let mut rows: Vec<RowAxis> = (0..channel).map(|axis| row(axis, 1)).collect();
        rows.extend(phases.iter().zip(channel + 1..).map(|(phase, axis)| row(axis, phase.x_step)));
        let mut sums: Vec<SumAxis> = phases
            .iter()
            .zip(&xs[channel + 1..])
            .map(|(phase, stride)| SumAxis {
                len: u32::try_from(phase.taps.len()).unwrap_or(u32::MAX),
                x: stride * i64::from(phase.x_dilation),
                w: 0,
            })
            .collect();
        sums.push(SumAxis { len: self.per_group, x: xs[channel], w: 0 });
        let mut contract = Contract {
            rows,
            sums,
            columns,
            weights: Weights::Packed,
            bias: self.bias.is_some(),
            epilogue: self.conv.epilogue.clone(),
            extras: extras.iter().map(|place| extra(place, channel)).collect(),
            block: planner.block(self.node),
        };
        if groups > 1 {
            let step = |stride: i64, count: u32| stride * i64::from(count);
            contract.rows.insert(
                0,
                RowAxis {
                    len: groups,
                    x: step(xs[channel], self.per_group),
                    y: step(ys[channel], columns),
                    w: 1,
                    bias: columns.into(),
                },
            );
            for (extra, place) in contract.extras.iter_mut().zip(&extras) {
                extra.rows.insert(0, step(place.layout.strides[channel], columns));
            }
        }
        let (window, columns, channels) = (self.window(), columns as usize, self.per_group as usize);
        let at = |set: u64, k: u64, j: u32| {
            let (set, k, j) = (set as usize, k as usize, j as usize);
            self.numbers
                [((set * columns + j) * channels + k % channels) * window + self.tap(phases, k / channels)]
        };
        let packed = contract::pack(&contract, lanes(planner.simd), at);
        let w = weights(planner, packed, self.parameters(phases));
        let (title, bias) = (self.title.clone(), self.bias.clone());
        run(planner, self.node, Job { contract, title, x, w, bias, extras, y });
        Ok(())
    }

    /// How many of the weights are those of some phases.
    fn parameters(&self, phases: &[Phase]) -> usize {
        let taps: usize = phases.iter().map(|phase| phase.taps.len()).product();
        self.numbers.len() / self.window().max(1) * taps
    }

    /// A slide for each of the channels that a group makes, every so many of which it writes.
    fn slide(&self, planner: &mut Planner<'_>, phases: &[Phase]) -> Result<(), CompileError> {
        let (whole, x) = (self.part(&self.y, phases)?, self.start(phases));
        let windows: Vec<Window> = phases
            .iter()
            .map(|phase| Window {
                size: u32::try_from(phase.taps.len()).unwrap_or(u32::MAX),
                stride: phase.x_step,
                dilation: phase.x_dilation,
                before: 0,
                after: 0,
            })
            .collect();
        let fold = Fold::Weighted { bias: self.bias.is_some() };
        let kernel = Rc::new(Slide {
            name: self.title.clone(),
            channel: self.channel,
            windows,
            fold,
            epilogue: self.conv.epilogue.clone(),
        });
        let (columns, window) = (self.columns as usize, self.window());
        for column in 0..self.columns {
            let own = |place: &Place| {
                let mut extents = place.layout.extents.clone();
                let mut steps = vec![(0, 1); extents.len()];
                extents[self.channel] = self.conv.groups;
                steps[self.channel] = (column, self.columns.cast_signed());
                sliced(place, steps, &extents)
            };
            let y = own(&whole)?;
            let at = |channel: usize, tap: usize| {
                self.numbers[(channel * columns + column as usize) * window + self.tap(phases, tap)]
            };
            let packed = slide::pack(&kernel.windows, &y.layout.extents, fold, lanes(planner.simd), at);
            let mut operands = vec![x.clone(), weights(planner, packed, self.parameters(phases) / columns)];
            if let Some(bias) = &self.bias {
                operands.push(self.own_bias(planner, bias, column)?);
            }
            for extra in &self.extras {
                operands.push(own(&self.part(extra, phases)?)?);
            }
            planner.part(kernel.clone(), y, operands, self.node);
        }
        Ok(())
    }

    /// Every so many numbers of the bias.
    fn own_bias(&self, planner: &mut Planner<'_>, bias: &Place, column: u32) -> Result<Place, CompileError> {
        let Some(value) = self.node.inputs.get(2).filter(|_| self.columns > 1) else {
            return Ok(bias.clone());
        };
        let numbers = planner.graph.constant(*value).and_then(|constant| constant.f32s());
        let numbers = numbers.ok_or_else(|| fault("a bias is no constant"))?;
        let mut own: Vec<f32> =
            numbers.iter().copied().skip(column as usize).step_by(self.columns as usize).collect();
        let parameters = own.len();
        own.resize(parameters.next_multiple_of(4), 0.0);
        Ok(weights(planner, own, parameters))
    }

    /// Places that see no tap: the bias, or 0.
    fn constant(&self, planner: &mut Planner<'_>, phases: &[Phase]) -> Result<(), CompileError> {
        let y = self.part(&self.y, phases)?;
        let mut operands =
            self.extras.iter().map(|extra| self.part(extra, phases)).collect::<Result<Vec<_>, _>>()?;
        let epilogue = &self.conv.epilogue;
        let program = match &self.bias {
            Some(bias) => {
                let mut layout =
                    Layout { extents: y.layout.extents.clone(), strides: vec![0; y.layout.extents.len()] };
                layout.strides[self.channel] = 1;
                operands.insert(0, Place { layout, ..bias.clone() });
                epilogue.clone()
            }
            None => {
                let mut parts = vec![Program::from(&Formula::from(0.0))];
                parts.extend((0..operands.len()).map(|place| Program::identity().with_operands(|_| place)));
                epilogue.compose(&parts)
            }
        };
        planner.part(Rc::new(Pointwise { program }), y, operands, self.node);
        Ok(())
    }
}

fn sliced(place: &Place, steps: Vec<(u32, i32)>, extents: &[u32]) -> Result<Place, CompileError> {
    place.rearranged(&Rearrange::Slice(steps), extents).ok_or_else(|| fault("a slice has no place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_convolution_has_a_phase_for_each_remainder() {
        let window = Window { size: 3, stride: 2, dilation: 1, before: 1, after: 1 };
        let phases = Phase::all(&window, true, 7);
        let told: Vec<_> =
            phases.iter().map(|p| (p.outputs, p.x_first, p.x_dilation, p.taps.clone())).collect();
        // y[2 q] = x[q] w[1]; y[2 q + 1] = x[q] w[2] + x[q + 1] w[0]
        assert_eq!(told, [(4, 0, 1, vec![1]), (3, 0, 1, vec![2, 0])]);
        assert_eq!(phases.iter().map(|phase| phase.sides(4)).collect::<Vec<_>>(), [(0, 0), (0, 0)]);
    }

    #[test]
    fn a_border_is_no_larger_than_what_is_read() {
        let window = Window { size: 3, stride: 2, dilation: 1, before: 1, after: 1 };
        assert_eq!(Phase::all(&window, false, 4)[0].sides(8), (1, 0));
    }
}
