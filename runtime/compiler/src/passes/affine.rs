//! Factors and shifts behind a product or a convolution go into its constant weights and its bias:
//! a BatchNormalization behind a convolution costs nothing.
//!
//! From the program of the element-wise node behind it, one step after the other is taken while it is
//! an addition, a subtraction, a multiplication or a division of the sum and a number, or a constant
//! with one number a column. What is left stays behind. Every change removes an instruction.

use super::chain::only_reader;
use super::epilogue::contraction;
use super::{Exhausted, Fuel, rewrite};
use crate::constant::{Constant, ConstantData};
use crate::graph::{Graph, Op, ValueId};
use crate::program::{Binary, Inst, Program, Reg};

pub(super) fn fuse(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    rewrite(graph, fuel, |graph, index| {
        let before = graph.nodes.len();
        step(graph, index)?;
        // Where a node went, the next one is in its place.
        Some((index + 1 + graph.nodes.len()).saturating_sub(before))
    })
}

/// What is done to the sum, a number a column.
struct Affine {
    factor: Vec<f32>,
    shift: Vec<f32>,
}

fn step(graph: &mut Graph, index: usize) -> Option<()> {
    let Op::Pointwise(program) = &graph.nodes[index].op else { return None };
    let program = program.clone();
    let inputs = graph.nodes[index].inputs.clone();
    let (place, producer) = inputs.iter().enumerate().find_map(|(place, input)| {
        let producer = graph.nodes[..index].iter().rposition(|other| other.output == *input)?;
        let (own, epilogue) = contraction(&graph.nodes[producer].op)?;
        let source = &graph.nodes[producer];
        let plain = epilogue.is_identity() && source.inputs.len() == own;
        let alike = graph.extents(*input) == graph.extents(graph.nodes[index].output);
        (plain && alike && only_reader(graph, *input, index)).then_some((place, producer))
    })?;
    let columns = Columns::of(graph, producer)?;
    let (affine, rest) = taken(graph, &program, &inputs, place, &columns)?;
    apply(graph, producer, &columns, &affine)?;
    let node = &mut graph.nodes[index];
    node.op = Op::Pointwise(rest);
    compact(graph, index);
    Some(())
}

/// Which axis of a contraction's result its columns are, and where they are in its weights.
struct Columns {
    /// The axis, counted from the last.
    from_last: usize,
    count: usize,
    /// Weights that follow one another for one column.
    run: usize,
}

impl Columns {
    fn of(graph: &Graph, producer: usize) -> Option<Columns> {
        let node = &graph.nodes[producer];
        let w = graph.constant(*node.inputs.get(1)?)?;
        w.f32s()?;
        match &node.op {
            Op::MatMul(_) if w.shape[..w.shape.len() - 2].iter().all(|extent| *extent == 1) => {
                Some(Columns { from_last: 0, count: *w.shape.last()? as usize, run: 1 })
            }
            Op::Conv(conv) => {
                let run = w.shape[1..].iter().map(|extent| *extent as usize).product();
                Some(Columns { from_last: conv.windows.len(), count: w.shape[0] as usize, run })
            }
            Op::MatMul(_) | Op::Pointwise(_) | Op::Rearrange(_) => None,
            Op::Concat { .. } | Op::Pad { .. } | Op::Kernel(_) => None,
        }
    }

    /// A constant as a number a column; `None` if it differs along other axes.
    fn numbers(&self, constant: &Constant) -> Option<Vec<f32>> {
        let values = constant.f32s()?;
        if values.len() == 1 {
            return Some(vec![values[0]; self.count]);
        }
        let axis = constant.shape.len().checked_sub(self.from_last + 1)?;
        let own = constant.shape.get(axis).map(|extent| *extent as usize);
        (values.len() == self.count && own == Some(self.count)).then(|| values.to_vec())
    }
}

/// The steps that can be taken from the front of a program, and what is left of it.
fn taken(
    graph: &Graph,
    program: &Program,
    inputs: &[ValueId],
    place: usize,
    columns: &Columns,
) -> Option<(Affine, Program)> {
    let mut affine = Affine { factor: vec![1.0; columns.count], shift: vec![0.0; columns.count] };
    let insts = program.insts();
    let mut sum: Reg = insts.iter().position(|inst| *inst == Inst::Operand(place))?;
    let number = |reg: Reg| match insts[reg] {
        Inst::Number(bits) => Some(vec![f32::from_bits(bits); columns.count]),
        Inst::Operand(other) if other != place => columns.numbers(graph.constant(inputs[other])?),
        Inst::Operand(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => None,
    };
    let start = sum;
    while let Some((next, function, flipped, numbers)) =
        single_reader(insts, sum).and_then(|next| match insts[next] {
            Inst::Binary(function, a, b) if a == sum && b != sum => Some((next, function, false, number(b)?)),
            Inst::Binary(function, a, b) if b == sum && a != sum => Some((next, function, true, number(a)?)),
            Inst::Operand(_) | Inst::Number(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => {
                None
            }
        })
    {
        let steps = affine.factor.iter_mut().zip(&mut affine.shift).zip(numbers);
        match (function, flipped) {
            (Binary::Add, _) => steps.for_each(|((_, shift), n)| *shift += n),
            (Binary::Sub, false) => steps.for_each(|((_, shift), n)| *shift -= n),
            (Binary::Sub, true) => {
                steps.for_each(|((factor, shift), n)| (*factor, *shift) = (-*factor, n - *shift))
            }
            (Binary::Mul, _) => {
                steps.for_each(|((factor, shift), n)| (*factor, *shift) = (*factor * n, *shift * n))
            }
            (Binary::Div, false) => {
                steps.for_each(|((factor, shift), n)| (*factor, *shift) = (*factor / n, *shift / n))
            }
            _ => break,
        }
        sum = next;
    }
    let finite = affine.factor.iter().chain(&affine.shift).all(|number| number.is_finite());
    (sum != start && finite).then(|| (affine, program.replaced(sum, place)))
}

/// The only instruction that reads `reg`, if it is not the result.
fn single_reader(insts: &[Inst], reg: Reg) -> Option<Reg> {
    let reads = |inst: &Inst| match *inst {
        Inst::Operand(_) | Inst::Number(_) => false,
        Inst::Unary(_, a) => a == reg,
        Inst::Binary(_, a, b) => a == reg || b == reg,
        Inst::Select(a, b, c) => a == reg || b == reg || c == reg,
    };
    let mut readers = insts.iter().enumerate().filter(|(_, inst)| reads(inst)).map(|(reader, _)| reader);
    let first = readers.next()?;
    readers.next().is_none().then_some(first)
}

/// Changes the weights and the bias of a contraction.
fn apply(graph: &mut Graph, producer: usize, columns: &Columns, affine: &Affine) -> Option<()> {
    let node = &graph.nodes[producer];
    let has_bias = node.inputs.len() > 2;
    let w = graph.constant(*node.inputs.get(1)?)?;
    let column = |place: usize| place / columns.run % columns.count;
    let scaled = w.f32s()?.iter().enumerate().map(|(place, w)| w * affine.factor[column(place)]).collect();
    let scaled = Constant { shape: w.shape.clone(), data: ConstantData::F32(scaled) };
    let bias: Vec<f32> = match node.inputs.get(2) {
        Some(bias) => {
            let bias = graph.constant(*bias)?.f32s()?.iter();
            bias.zip(affine.factor.iter().zip(&affine.shift))
                .map(|(bias, (factor, shift))| bias * factor + shift)
                .collect()
        }
        None => affine.shift.clone(),
    };
    let bias = Constant { shape: vec![u32::try_from(columns.count).ok()?], data: ConstantData::F32(bias) };
    let names = node.inputs.get(1..2)?.iter().map(|id| graph.value(*id).name.clone()).collect::<Vec<_>>();
    let name = names.first()?.clone();
    let (w, bias) = (graph.add_constant(&name, scaled), graph.add_constant(&name, bias));
    let node = &mut graph.nodes[producer];
    node.inputs[1] = w;
    if has_bias {
        node.inputs[2] = bias
    } else {
        node.inputs.push(bias)
    }
    match &mut node.op {
        Op::MatMul(matmul) => matmul.bias = true,
        Op::Conv(conv) => conv.bias = true,
        Op::Pointwise(_) | Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Kernel(_) => {}
    }
    Some(())
}

/// Drops operands that the program of node `index` does not read any more; a node that does nothing
/// but hand on its operand gives its result to the producer.
fn compact(graph: &mut Graph, index: usize) {
    let node = &graph.nodes[index];
    let Op::Pointwise(program) = &node.op else { return };
    let read: Vec<usize> =
        (0..node.inputs.len()).filter(|place| program.insts().contains(&Inst::Operand(*place))).collect();
    let program = program.with_operands(|old| read.iter().position(|place| *place == old).unwrap_or(0));
    let inputs: Vec<ValueId> = read.iter().map(|place| node.inputs[*place]).collect();
    let (output, origins) = (node.output, node.origins.clone());
    if let (true, [source]) = (program.is_identity(), inputs.as_slice())
        && let Some(producer) = graph.nodes[..index].iter().rposition(|other| other.output == *source)
    {
        let mut moved = graph.nodes[producer].clone();
        moved.output = output;
        moved.origins.extend(origins);
        graph.nodes[index] = moved;
        graph.nodes.remove(producer);
        return;
    }
    let node = &mut graph.nodes[index];
    (node.op, node.inputs) = (Op::Pointwise(program), inputs);
}
