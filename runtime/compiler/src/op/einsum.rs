//! Einsum of two tensors, as attention and dense layers over several axes are written: a matrix product
//! between transpositions.
//!
//! Every letter is in both operands and the result (it counts matrices), in both operands only (it is summed
//! over), or in one operand and the result (rows or columns).

use super::call::FIX_BATCH;
use super::matmul::matrices;
use super::{Call, Refusal};
use crate::graph::{Rearrange, Shape, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let equation = call.text("equation", "")?;
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let unknown = |what: &str| {
        let remedy = "write it with MatMul, Transpose and ReduceSum";
        Refusal::unsupported(format!("its equation {equation:?} {what}"), remedy)
    };
    let Some((left, result)) = equation.split_once("->") else {
        return Err(unknown("does not name its result"));
    };
    let [a, b] = left.split(',').collect::<Vec<_>>()[..] else {
        return Err(unknown("is not of two tensors"));
    };
    let letters = |text: &str| -> Option<Vec<char>> {
        let letters: Vec<char> = text.chars().collect();
        let fits = |(place, letter): (usize, &char)| {
            letter.is_ascii_alphabetic() && !letters[..place].contains(letter)
        };
        letters.iter().enumerate().all(fits).then_some(letters)
    };
    let (Some(a), Some(b), Some(result)) = (letters(a), letters(b), letters(result)) else {
        return Err(unknown("repeats a letter of one tensor, or has others than letters"));
    };
    let a = Tensor::of(call, 0, a)?;
    let b = Tensor::of(call, 1, b)?;
    let has = |x: &Tensor, letter: &char| x.letters.contains(letter) || x.batch == Some(*letter);
    let alone = |x: &Tensor, y: &Tensor| x.letters.iter().any(|l| !has(y, l) && !result.contains(l));
    if alone(&a, &b) || alone(&b, &a) || result.iter().any(|l| !has(&a, l) && !has(&b, l)) {
        return Err(unknown("sums over an axis of one tensor, or makes one up"));
    }
    let batch = match (a.batch, b.batch) {
        (Some(a), Some(b)) if a != b => return Err(Refusal::unsupported("it mixes samples", FIX_BATCH)),
        (a, b) => a.or(b),
    };
    let meets = |x: &Tensor| batch.is_some_and(|batch| x.batch.is_none() && x.letters.contains(&batch));
    if meets(&a) || meets(&b) || batch.is_some_and(|batch| !result.contains(&batch)) {
        return Err(Refusal::unsupported("it sums over the batch, or mixes samples", FIX_BATCH));
    }
    // The innermost axis of the result is that of the columns.
    let swap = result.iter().rfind(|l| Some(**l) != batch).is_some_and(|l| !b.letters.contains(l));
    let (a, b) = if swap { (b, a) } else { (a, b) };
    contract(call, (&a, &b), &result, batch)
}

/// An operand with a letter for each axis of its sample.
struct Tensor {
    value: ValueId,
    letters: Vec<char>,
    batch: Option<char>,
    extents: Vec<u32>,
}

impl Tensor {
    fn of(call: &Call<'_>, index: usize, mut letters: Vec<char>) -> Result<Tensor, Refusal> {
        let value = call.f32(index)?;
        let shape = call.shape(value);
        if letters.len() != shape.rank() {
            return Err(Refusal::shapes(format!("its equation does not fit {shape}")));
        }
        let batch = shape.batch.map(|axis| letters.remove(axis));
        Ok(Tensor { value, letters, batch, extents: shape.sample })
    }

    fn extent(&self, letter: char) -> Option<u32> {
        Some(self.extents[self.letters.iter().position(|other| *other == letter)?])
    }

    /// The tensor with its axes in this order, and their extents as `shape`.
    fn arranged(&self, call: &mut Call<'_>, order: &[char], shape: Vec<u32>) -> Result<ValueId, Refusal> {
        let place = |letter: &char| self.letters.iter().position(|other| other == letter);
        let axes: Vec<usize> = order.iter().filter_map(place).collect();
        let batch = self.batch.map(|_| 0);
        let moved: Vec<u32> = axes.iter().map(|axis| self.extents[*axis]).collect();
        let value = if axes.is_sorted() {
            self.value
        } else {
            call.rearrange(self.value, Rearrange::Transpose(axes), Shape::new(batch, moved))?
        };
        call.reshape(value, Shape::new(batch, shape))
    }
}

fn contract(
    call: &mut Call<'_>,
    (a, b): (&Tensor, &Tensor),
    result: &[char],
    batch: Option<char>,
) -> Result<ValueId, Refusal> {
    let both = |l: &&char| b.letters.contains(*l);
    let list = |tensor: &Tensor, keep: &dyn Fn(&&char) -> bool| -> Vec<char> {
        tensor.letters.iter().filter(|l| keep(l)).copied().collect()
    };
    let sets: Vec<char> =
        result.iter().filter(|l| a.letters.contains(*l) && b.letters.contains(*l)).copied().collect();
    let sums = list(a, &|l| both(l) && !result.contains(*l));
    let rows: Vec<char> =
        result.iter().filter(|l| a.letters.contains(*l) && !b.letters.contains(*l)).copied().collect();
    let columns: Vec<char> =
        result.iter().filter(|l| b.letters.contains(*l) && !a.letters.contains(*l)).copied().collect();
    if sets.iter().chain(&sums).any(|l| a.extent(*l) != b.extent(*l)) {
        return Err(Refusal::shapes("an axis has two extents"));
    }
    let extents = |tensor: &Tensor, letters: &[char]| -> Vec<u32> {
        letters.iter().filter_map(|l| tensor.extent(*l)).collect()
    };
    let product = |extents: &[u32]| {
        let product = extents.iter().try_fold(1u32, |product, extent| product.checked_mul(*extent));
        product.ok_or_else(|| Refusal::too_large("its operands"))
    };
    let (k, n) = (product(&extents(a, &sums))?, product(&extents(b, &columns))?);
    // Rows stay apart where the other operand has no axes of its own in front.
    let row_extents = if sets.is_empty() && !rows.is_empty() {
        extents(a, &rows)
    } else {
        vec![product(&extents(a, &rows))?]
    };
    let front = extents(a, &sets);
    let x =
        a.arranged(call, &[&sets[..], &rows, &sums].concat(), [&front[..], &row_extents, &[k]].concat())?;
    let w = b.arranged(call, &[&sets[..], &sums, &columns].concat(), [&front[..], &[k, n]].concat())?;
    let shape = Shape::new(batch.map(|_| 0), [&front[..], &row_extents, &[n]].concat());
    let y = matrices(call, x, w, shape)?;
    // Axes apart, then in the order of the result.
    let order = [&sets[..], &rows, &columns].concat();
    let apart = [front, extents(a, &rows), extents(b, &columns)].concat();
    let y = call.reshape(y, Shape::new(batch.map(|_| 0), apart.clone()))?;
    let wanted: Vec<char> = result.iter().filter(|l| Some(**l) != batch).copied().collect();
    let axes: Vec<usize> = wanted.iter().filter_map(|l| order.iter().position(|other| other == l)).collect();
    let sample: Vec<u32> = axes.iter().map(|axis| apart[*axis]).collect();
    let shape = Shape::new(batch.and_then(|batch| result.iter().position(|l| *l == batch)), sample);
    if axes.is_sorted() {
        call.reshape(y, shape)
    } else {
        call.rearrange(y, Rearrange::Transpose(axes), shape)
    }
}
