//! RNN, GRU and LSTM: one matrix product for the inputs of all steps and directions, then a kernel for
//! each direction, whose results lie side by side. The last states are views of what they write.
//!
//! In the file x is `[steps, batch, inputs]`, or with the batch in front (layout 1), and the result has
//! an axis of directions behind the steps. A symbolic batch is no axis here; a fixed one is an axis of
//! rows: everything is `[steps, rows, ..]` inside, and moved to the order of the file in the end.

mod cell;
mod function;
mod weights;

use super::call::FIX_BATCH;
use super::concat::concat;
use super::{Call, Refusal};
use crate::emit::recurrent::{Cell, Recurrent};
use crate::graph::{MatMul, Op, Shape, ValueId};
use crate::program::Program;
use function::{Function, functions};
use weights::Weights;

/// Which of the operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rnn,
    Gru,
    Lstm,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Rnn => "RNN",
            Family::Gru => "GRU",
            Family::Lstm => "LSTM",
        }
    }

    fn gates(self) -> u32 {
        match self {
            Family::Rnn => 1,
            Family::Gru => 3,
            Family::Lstm => 4,
        }
    }

    fn defaults(self) -> &'static [&'static str] {
        match self {
            Family::Rnn => &["Tanh"],
            Family::Gru => &["Sigmoid", "Tanh"],
            Family::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }

    /// The cell of one direction, and whether the bias of the last gate's product stays apart.
    fn cell(self, call: &Call<'_>, functions: &[Function], weights: &Weights) -> Result<Cell, Refusal> {
        Ok(match (self, functions) {
            (Family::Rnn, [f]) => cell::rnn(*f),
            (Family::Gru, [f, g]) => {
                cell::gru([*f, *g], call.flag("linear_before_reset")?, weights.bias.is_some())
            }
            (Family::Lstm, [f, g, h]) => {
                cell::lstm([*f, *g, *h], call.flag("input_forget")?, weights.peepholes.is_some())
            }
            (Family::Rnn | Family::Gru | Family::Lstm, _) => {
                return Err(Refusal::malformed("it has another number of activations than functions"));
            }
        })
    }
}

pub(super) fn rnn(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Family::Rnn)
}

pub(super) fn gru(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Family::Gru)
}

pub(super) fn lstm(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Family::Lstm)
}

/// The axes of a node.
struct Axes {
    /// Whether the batch is the first axis in the file.
    batch_first: bool,
    /// The file's steps.
    steps: u32,
    /// The steps that are computed; zeros behind them.
    length: u32,
    /// The extent of a fixed batch; a symbolic one is no axis.
    rows: Option<u32>,
    inputs: u32,
    /// For each direction, whether it starts at the last step.
    reverse: Vec<bool>,
}

impl Axes {
    /// A shape with these extents before the rows, and this behind them. Without rows, the batch axis
    /// of the file is in their place, or in front.
    fn shape(&self, before: &[u32], behind: u32) -> Shape {
        let batch = if self.batch_first { 0 } else { before.len() };
        let rows: Vec<u32> = self.rows.into_iter().collect();
        let sample = [before, rows.as_slice(), &[behind]].concat();
        Shape::new(self.rows.is_none().then_some(batch), sample)
    }
}

fn lower(call: &mut Call<'_>, family: Family) -> Result<ValueId, Refusal> {
    let (x, axes) = inputs(call)?;
    let weights = Weights::read(call, family, &axes)?;
    let functions = functions(call, axes.reverse.len(), family.defaults())?;
    let cells: Vec<Cell> =
        functions.iter().map(|functions| family.cell(call, functions, &weights)).collect::<Result<_, _>>()?;
    let columns: Vec<Vec<Option<(usize, u32)>>> =
        cells.iter().map(|cell| cell.columns(weights.hidden)).collect();
    let width = u32::try_from(columns.concat().len()).map_err(|_| Refusal::too_large("it"))?;
    let shares = share(call, family, &axes, &weights, x, (&columns.concat(), width))?;
    let keeps_cell = family == Family::Lstm && call.wants_output(2);
    let mut parts = Vec::with_capacity(cells.len());
    let mut first_column = 0;
    for (direction, (cell, columns)) in cells.into_iter().zip(&columns).enumerate() {
        let count = u32::try_from(columns.len()).unwrap_or(u32::MAX);
        let place = call.shape(shares).sample.len() - 1;
        let x = if count == width { shares } else { call.slice(shares, place, (first_column, 1, count))? };
        first_column += count;
        let packed = weights.packed(&cell, direction);
        let len = u32::try_from(packed.len()).map_err(|_| Refusal::too_large("it"))?;
        let mut operands = vec![x, call.add_f32s(&[len], packed)?];
        operands.push(state(call, 5, "initial_h", &axes, weights.hidden, direction)?);
        if cell.has_cell {
            operands.push(state(call, 6, "initial_c", &axes, weights.hidden, direction)?);
        }
        for constant in weights.constants(family, &cell, direction) {
            let len = u32::try_from(constant.len()).unwrap_or(u32::MAX);
            operands.push(call.add_f32s(&[len], constant)?);
        }
        let kernel = Recurrent {
            name: family.name(),
            steps: axes.length,
            rows: axes.rows,
            hidden: weights.hidden,
            reverse: axes.reverse[direction],
            keeps_cell,
            cell,
        };
        let steps = axes.length.saturating_add(keeps_cell.into());
        parts.push(call.add_kernel(kernel, operands, axes.shape(&[steps, 1], weights.hidden))?);
    }
    let place = i64::from(axes.batch_first && axes.rows.is_none()) + 1;
    let whole = concat(call, &parts, place)?;
    outputs(call, &axes, whole, keeps_cell)
}

/// x as `[steps, rows, inputs]`, without the steps behind the common length of the sequences.
fn inputs(call: &mut Call<'_>) -> Result<(ValueId, Axes), Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let batch_first = call.flag("layout")?;
    if call.has("layout") && call.opset < 14 {
        return Err(Refusal::malformed("the attribute \"layout\" came with opset 14"));
    }
    if shape.rank() != 3 {
        return Err(Refusal::malformed(format!("its input has the shape {shape}, not three axes")));
    }
    let steps = call.sample_axis(&shape, i64::from(batch_first), "steps through")?;
    let columns = call.sample_axis(&shape, 2, "sums over")?;
    let (steps, inputs) = (shape.sample[steps], shape.sample[columns]);
    let rows = (!shape.is_batched()).then(|| shape.sample[usize::from(!batch_first)]);
    let reverse = match call.text("direction", "forward")?.as_str() {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(Refusal::malformed(format!("its direction is {other:?}"))),
    };
    if [steps, inputs, rows.unwrap_or(1)].contains(&0) {
        return Err(Refusal::malformed(format!("its input has the shape {shape}, which holds nothing")));
    }
    let length = length(call, steps, rows)?;
    let mut x = if batch_first && rows.is_some() { call.transpose(x, vec![1, 0, 2])? } else { x };
    if length < steps {
        x = call.slice(x, 0, (0, 1, length))?;
    }
    Ok((x, Axes { batch_first, steps, length, rows, inputs, reverse }))
}

/// The common length of the sequences.
fn length(call: &Call<'_>, steps: u32, rows: Option<u32>) -> Result<u32, Refusal> {
    if call.optional(4).is_none() {
        return Ok(steps);
    }
    let remedy = "pad nothing: give each sequence at its length, without sequence_lens";
    let lens = call.i64s(4, "the list of sequence lengths")?;
    let Some(first) = lens.first().filter(|_| rows.is_none_or(|rows| lens.len() == rows as usize)) else {
        return Err(Refusal::malformed(format!("it has {} sequence lengths", lens.len())));
    };
    if lens.iter().any(|len| len != first) {
        return Err(Refusal::unsupported("its sequences differ in length", remedy));
    }
    let length = u32::try_from(*first).ok().filter(|len| *len <= steps);
    match length {
        Some(0) => Err(Refusal::unsupported("its sequences are empty", remedy)),
        Some(length) => Ok(length),
        None => Err(Refusal::malformed(format!("a sequence length is {first}, of {steps} steps"))),
    }
}

/// The share of the inputs in every gate, for all steps: one matrix product.
fn share(
    call: &mut Call<'_>,
    family: Family,
    axes: &Axes,
    weights: &Weights,
    x: ValueId,
    (columns, width): (&[Option<(usize, u32)>], u32),
) -> Result<ValueId, Refusal> {
    let apart = family == Family::Gru && call.flag("linear_before_reset")?;
    let (w, bias) = weights.of_inputs(columns, axes.inputs, apart);
    let mut operands = vec![x, call.add_f32s(&[axes.inputs, width], w)?];
    let has_bias = bias.is_some();
    if let Some(bias) = bias {
        operands.push(call.add_f32s(&[width], bias)?);
    }
    let shape = axes.shape(&[axes.length], width);
    call.add(Op::MatMul(MatMul { bias: has_bias, epilogue: Program::identity() }), operands, shape)
}

/// The first state of a direction, `[rows, hidden]`: zeros where it is not given.
fn state(
    call: &mut Call<'_>,
    index: usize,
    name: &str,
    axes: &Axes,
    hidden: u32,
    direction: usize,
) -> Result<ValueId, Refusal> {
    let own: Vec<u32> = axes.rows.into_iter().chain([hidden]).collect();
    let Some(given) = call.optional_f32(index)? else {
        // One row, which all rows read.
        let row: Vec<u32> = axes.rows.map(|_| 1).into_iter().chain([hidden]).collect();
        return call.add_f32s(&row, vec![0.0; hidden as usize]);
    };
    let shape = call.shape(given);
    let directions = u32::try_from(axes.reverse.len()).unwrap_or(u32::MAX);
    let rows = axes.rows.unwrap_or(1);
    let (expected, place) =
        if axes.batch_first { ([rows, directions, hidden], 1) } else { ([directions, rows, hidden], 0) };
    let mut sample = expected.to_vec();
    let batch = shape.batch;
    if batch.is_some() {
        if axes.rows.is_some() {
            let reason = format!("its {name} depends on the batch, and its input does not");
            return Err(Refusal::unsupported(reason, FIX_BATCH));
        }
        sample.remove(1 - place);
    }
    if shape.sample != sample || batch.is_some_and(|batch| batch != 1 - place) {
        let expected = Shape::new(batch.map(|_| 1 - place), sample);
        return Err(Refusal::malformed(format!("its {name} has the shape {shape}, not {expected}")));
    }
    let place = if batch.is_some() { 0 } else { place };
    let start = u32::try_from(direction).unwrap_or(u32::MAX);
    let one = if directions == 1 { given } else { call.slice(given, place, (start, 1, 1))? };
    call.reshape(one, Shape::new(batch.map(|_| 0), own))
}

/// The results in the order of the file: everything, the last h, the last c.
fn outputs(call: &mut Call<'_>, axes: &Axes, whole: ValueId, keeps_cell: bool) -> Result<ValueId, Refusal> {
    let directions = u32::try_from(axes.reverse.len()).unwrap_or(u32::MAX);
    let hidden = call.shape(whole).sample.last().copied().unwrap_or(0);
    let last = axes.length - 1;
    // `[directions, rows, hidden]` in the order of the file.
    let state = |call: &mut Call<'_>, value: ValueId| {
        let value = call.reshape(value, axes.shape(&[directions], hidden))?;
        if axes.batch_first && axes.rows.is_some() { call.transpose(value, vec![1, 0, 2]) } else { Ok(value) }
    };
    if call.wants_output(1) {
        let mut states = Vec::with_capacity(axes.reverse.len());
        for (direction, reverse) in (0..).zip(&axes.reverse) {
            let end = call.slice(whole, 0, (if *reverse { 0 } else { last }, 1, 1))?;
            states.push(if directions == 1 { end } else { call.slice(end, 1, (direction, 1, 1))? });
        }
        let place = i64::from(axes.batch_first && axes.rows.is_none()) + 1;
        let joined = concat(call, &states, place)?;
        let joined = state(call, joined)?;
        call.give_further(1, joined);
    }
    if keeps_cell {
        let cell = call.slice(whole, 0, (axes.length, 1, 1))?;
        let cell = state(call, cell)?;
        call.give_further(2, cell);
    }
    let mut y = if keeps_cell { call.slice(whole, 0, (0, 1, axes.length))? } else { whole };
    if axes.length < axes.steps {
        let shape = axes.shape(&[axes.steps, directions], hidden);
        let pad = Op::Pad { before: vec![0; shape.sample.len()], value: 0.0 };
        y = call.add(pad, vec![y], shape)?;
    }
    if axes.batch_first && axes.rows.is_some() { call.transpose(y, vec![2, 0, 1, 3]) } else { Ok(y) }
}
