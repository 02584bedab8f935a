//! The constant operands of recurrent operators: W, R, B and P, checked against each other.

use super::super::{Call, Refusal};
use super::{Axes, Family};
use crate::emit::recurrent::{Cell, UNITS};
use crate::graph::Shape;

/// The weights of all directions, as they are in the file.
pub(super) struct Weights {
    pub(super) hidden: u32,
    gates: usize,
    inputs: usize,
    /// `[directions, gates * hidden, inputs]`
    input: Vec<f32>,
    /// `[directions, gates * hidden, hidden]`
    recurrent: Vec<f32>,
    /// `[directions, 2 * gates * hidden]`: those of the inputs, then those of the state.
    pub(super) bias: Option<Vec<f32>>,
    /// `[directions, 3 * hidden]`
    pub(super) peepholes: Option<Vec<f32>>,
}

/// An operand that must be a constant of this shape.
fn constant(call: &Call<'_>, index: usize, name: &str, shape: &[u64]) -> Result<Option<Vec<f32>>, Refusal> {
    let Some(id) = call.optional_f32(index)? else { return Ok(None) };
    if call.graph.constant(id).is_none() {
        return Err(Refusal::unsupported(
            format!("its operand {name} is computed from the model's inputs"),
            format!("give {name} as a constant (an initializer, or --const NAME=VALUE)"),
        ));
    }
    let actual = call.graph.extents(id);
    if actual.iter().map(|extent| u64::from(*extent)).ne(shape.iter().copied()) {
        let actual = Shape::fixed(actual);
        return Err(Refusal::malformed(format!("its operand {name} has the shape {actual}, not {shape:?}")));
    }
    call.f32s(index, name).map(Some)
}

impl Weights {
    pub(super) fn read(call: &Call<'_>, family: Family, axes: &Axes) -> Result<Weights, Refusal> {
        let r = call.f32(2)?;
        let hidden = match call.graph.extents(r) {
            [_, _, hidden] if *hidden > 0 => *hidden,
            _ => {
                let shape = call.shape(r);
                return Err(Refusal::malformed(format!("its operand R has the shape {shape}")));
            }
        };
        let told = call.int("hidden_size", hidden.into())?;
        if told != i64::from(hidden) {
            return Err(Refusal::malformed(format!("its hidden_size is {told}, and R has {hidden} columns")));
        }
        let directions = axes.reverse.len() as u64;
        let (units, inputs) = (u64::from(hidden), u64::from(axes.inputs));
        let rows = u64::from(family.gates()) * units;
        let missing = || Refusal::malformed("its weights are missing");
        let input = constant(call, 1, "W", &[directions, rows, inputs])?.ok_or_else(missing)?;
        let recurrent = constant(call, 2, "R", &[directions, rows, units])?.ok_or_else(missing)?;
        let bias = constant(call, 3, "B", &[directions, 2 * rows])?;
        let peepholes = constant(call, 7, "P", &[directions, 3 * units])?;
        let gates = family.gates() as usize;
        Ok(Weights { hidden, gates, inputs: axes.inputs as usize, input, recurrent, bias, peepholes })
    }

    fn rows(&self) -> usize {
        self.gates * self.hidden as usize
    }

    /// The recurrent weights of a direction, as its cell reads them.
    pub(super) fn packed(&self, cell: &Cell, direction: usize) -> Vec<f32> {
        let size = self.rows() * self.hidden as usize;
        let own = self.recurrent.get(direction * size..).unwrap_or_default();
        cell.packed(self.hidden, own)
    }

    /// The matrix `[inputs, columns]` and the bias of the product with the inputs. Both biases are in
    /// it, but for the second one of the last gate if it stays `apart`.
    ///
    /// The columns of the directions are behind one another.
    pub(super) fn of_inputs(
        &self,
        columns: &[Option<(usize, u32)>],
        inputs: u32,
        apart: bool,
    ) -> (Vec<f32>, Option<Vec<f32>>) {
        let (rows, hidden) = (self.rows(), self.hidden as usize);
        let directions = self.input.len() / (rows * self.inputs).max(1);
        let each = (columns.len() / directions.max(1)).max(1);
        // The row of each column, over all directions.
        let row = |place: usize, column: &Option<(usize, u32)>| {
            column.map(|(gate, unit)| place / each * rows + gate * hidden + unit as usize)
        };
        let places: Vec<Option<usize>> =
            columns.iter().enumerate().map(|(place, column)| row(place, column)).collect();
        let mut w = Vec::with_capacity(self.inputs * columns.len());
        for k in 0..inputs as usize {
            w.extend(places.iter().map(|row| row.map_or(0.0, |row| self.input[row * self.inputs + k])));
        }
        let bias = self.bias.as_ref().map(|bias| {
            let sum = |row: usize| {
                let (direction, own) = (row / rows, row % rows);
                let first = direction * 2 * rows + own;
                let second = if apart && own / hidden == self.gates - 1 { 0.0 } else { bias[first + rows] };
                bias[first] + second
            };
            places.iter().map(|row| row.map_or(0.0, sum)).collect()
        });
        (w, bias)
    }

    /// The constants that the cell of a direction reads: peepholes, or the bias that stays apart.
    pub(super) fn constants(&self, family: Family, cell: &Cell, direction: usize) -> Vec<Vec<f32>> {
        let hidden = self.hidden as usize;
        let numbers = match family {
            Family::Rnn => None,
            Family::Lstm => self
                .peepholes
                .as_ref()
                .and_then(|p| p.get(direction * 3 * hidden..(direction + 1) * 3 * hidden)),
            Family::Gru => self.bias.as_ref().and_then(|bias| {
                let end = (direction + 1) * 2 * self.rows();
                bias.get(end - hidden..end)
            }),
        };
        let padded = |numbers: &[f32]| {
            let mut padded = numbers.to_vec();
            padded.resize(hidden.next_multiple_of(UNITS as usize), 0.0);
            padded
        };
        let all: Vec<Vec<f32>> = numbers.unwrap_or_default().chunks(hidden.max(1)).map(padded).collect();
        all.into_iter().take(cell.constants()).collect()
    }
}
