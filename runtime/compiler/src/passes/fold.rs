//! Computes with constants while the model is compiled.
//!
//! Straight from the formulas, with `libm` instead of the host's functions, so that the same model
//! gives the same bytes everywhere. What would cost too much stays a node of the model.

use crate::constant::{Constant, ConstantData};
use crate::graph::{MatMul, Op, Rearrange, Shape};
use crate::kernel::Layout;
use crate::program::Program;

/// A folded result has at most this many elements.
pub(crate) const MAX_FOLDED_ELEMENTS: usize = 1 << 24;
/// All folding of a model together takes at most as long as this many multiplications.
pub(crate) const MAX_FOLDED_MACS: u64 = 1 << 30;
/// As many multiplications take as long as looking at one element.
pub(crate) const ELEMENT_MACS: u64 = 4;

/// The result of a node whose operands are all known; `None` if it must be computed on the device.
pub(crate) fn evaluate(op: &Op, inputs: &[&Constant], shape: &Shape) -> Option<Constant> {
    let elements = usize::try_from(shape.elements()).ok().filter(|count| *count <= MAX_FOLDED_ELEMENTS)?;
    if shape.is_batched() {
        return None;
    }
    let extents = &shape.sample;
    let data = match (op, inputs) {
        (Op::Rearrange(rearrange), [x]) => rearranged(x, rearrange, extents)?,
        (Op::Concat { axis }, parts) => concatenated(parts, *axis)?,
        (Op::Pad { before, value }, [x]) => padded(x, before, *value, extents)?,
        (Op::Pointwise(program), operands) => pointwise(program, operands, extents)?,
        (Op::MatMul(matmul), operands) if elements > 0 => product(matmul, operands, extents)?,
        (Op::Kernel(kernel), operands) => kernel.evaluate(operands)?,
        (Op::Rearrange(_) | Op::Pad { .. } | Op::MatMul(_) | Op::Conv(_), _) => return None,
    };
    Constant::new(extents.clone(), data)
}

/// The places of an operand's elements in row-major order of the result that it broadcasts to.
fn broadcast(operand: &Constant, extents: &[u32]) -> impl Iterator<Item = usize> + use<> {
    Layout::row_major(&operand.shape).broadcast(extents).places().map(|place| place.unsigned_abs() as usize)
}

fn pointwise(program: &Program, operands: &[&Constant], extents: &[u32]) -> Option<ConstantData> {
    let columns = broadcast_all(operands, extents, Constant::numbers)?;
    let count = usize::try_from(Layout::row_major(extents).elements()).ok()?;
    let value =
        |index: usize| program.evaluate(|place| columns.get(place).map_or(f32::NAN, |column| column[index]));
    Some(ConstantData::F32((0..count).map(value).collect()))
}

/// The numbers of every operand, repeated to the result's shape.
pub(crate) fn broadcast_all<T: Copy>(
    operands: &[&Constant],
    extents: &[u32],
    read: impl Fn(&Constant) -> Option<Vec<T>>,
) -> Option<Vec<Vec<T>>> {
    let column = |operand: &&Constant| {
        let values = read(operand)?;
        broadcast(operand, extents).map(|place| values.get(place).copied()).collect::<Option<Vec<T>>>()
    };
    operands.iter().map(column).collect()
}

fn rearranged(x: &Constant, rearrange: &Rearrange, extents: &[u32]) -> Option<ConstantData> {
    let (first, view) = Layout::row_major(&x.shape).rearranged(rearrange, extents)?;
    let places: Option<Vec<usize>> = view.places().map(|place| usize::try_from(first + place).ok()).collect();
    x.data.select(&places?)
}

/// Slabs of each part in turn, for every index in front of the axis.
fn concatenated(parts: &[&Constant], axis: usize) -> Option<ConstantData> {
    let first = parts.first()?;
    let product = |extents: &[u32]| extents.iter().map(|extent| *extent as usize).product::<usize>();
    let (outer, inner) = (product(&first.shape[..axis]), product(&first.shape[axis + 1..]));
    let mut data = first.data.select(&[])?;
    for o in 0..outer {
        for part in parts {
            let slab = part.shape[axis] as usize * inner;
            let indices: Vec<usize> = (o * slab..(o + 1) * slab).collect();
            data.append(&part.data.select(&indices)?)?;
        }
    }
    Some(data)
}

fn padded(x: &Constant, before: &[u32], value: f32, extents: &[u32]) -> Option<ConstantData> {
    let layout = Layout::row_major(extents);
    let first: i64 =
        before.iter().zip(&layout.strides).map(|(before, stride)| i64::from(*before) * stride).sum();
    let inside = Layout { extents: x.shape.clone(), strides: layout.strides.clone() };
    let mut y = vec![value; usize::try_from(layout.elements()).ok()?];
    for (number, place) in x.f32s()?.iter().zip(inside.places()) {
        *y.get_mut(usize::try_from(first + place).ok()?)? = *number;
    }
    Some(ConstantData::F32(y))
}

/// Straight from the formula of [`MatMul`].
fn product(matmul: &MatMul, operands: &[&Constant], extents: &[u32]) -> Option<ConstantData> {
    let [x, w, rest @ ..] = operands else { return None };
    let (bias, extras) =
        if matmul.bias { (Some(rest.first()?.f32s()?), rest.get(1..)?) } else { (None, rest) };
    let (k, n) = (*x.shape.last()?, *extents.last()?);
    let front = extents.get(..extents.len().checked_sub(2)?)?;
    let whole = |columns: &[u32]| [front, columns].concat();
    let rows = *extents.get(extents.len() - 2)?;
    let (xs, ws) = (x.f32s()?, w.f32s()?);
    let x_at: Vec<usize> = broadcast(x, &whole(&[rows, k])).collect();
    let w_at: Vec<usize> = broadcast(w, &whole(&[k, n])).collect();
    let extras = broadcast_all(extras, extents, |extra| extra.f32s().map(<[f32]>::to_vec))?;
    let (rows, k, n) = (rows as usize, k as usize, n as usize);
    let mut y = Vec::with_capacity(x_at.len() / k.max(1) * n);
    for row in 0..x_at.len() / k.max(1) {
        let matrix = row / rows * k * n;
        for j in 0..n {
            let start = bias.map_or(0.0, |bias| bias[j]);
            let sum = (0..k).fold(start, |sum, i| sum + xs[x_at[row * k + i]] * ws[w_at[matrix + i * n + j]]);
            let place = y.len();
            y.push(matmul.epilogue.evaluate(|operand| match operand.checked_sub(1) {
                None => sum,
                Some(extra) => extras.get(extra).map_or(f32::NAN, |extra| extra[place]),
            }));
        }
    }
    Some(ConstantData::F32(y))
}
