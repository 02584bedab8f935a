//! Trilu: the triangle of matrices above or below a diagonal, and zeros elsewhere.

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::ValueId;
use crate::program::operand;

/// `y[…, i, j] = x[…, i, j]` where `j - i >= k` (upper) or `j - i <= k` (lower), else 0.
pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let upper = call.flag_or("upper", true)?;
    let k = match call.optional_i64s(1, "the diagonal")?.as_deref() {
        None => 0,
        Some([k]) => *k,
        Some(_) => return Err(Refusal::malformed("its diagonal is no number")),
    };
    let shape = call.shape(x);
    let (rows, columns) = match (call.sample_axis(&shape, -2, "cuts"), call.sample_axis(&shape, -1, "cuts")) {
        (Ok(rows), Ok(columns)) => (shape.sample[rows], shape.sample[columns]),
        (Err(refusal), _) | (_, Err(refusal)) => return Err(refusal),
    };
    let kept = |i: u32, j: u32| {
        let distance = i64::from(j) - i64::from(i);
        if upper { distance >= k } else { distance <= k }
    };
    if let Some(constant) = call.graph.constant(x) {
        let cut = cut(constant, (rows, columns), kept);
        return call.add_constant(cut);
    }
    let x = call.f32(0)?;
    let places = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let mask = places.map(|(i, j)| f32::from(u8::from(kept(i, j)))).collect();
    let mask = call.add_f32s(&[rows, columns], mask)?;
    call.pointwise(&operand(1).select(operand(0), 0.0), &[x, mask])
}

fn cut(x: &Constant, (rows, columns): (u32, u32), kept: impl Fn(u32, u32) -> bool) -> Constant {
    fn zeroed<T: Copy + Default>(values: &[T], kept: impl Fn(usize) -> bool) -> Vec<T> {
        values
            .iter()
            .enumerate()
            .map(|(place, value)| if kept(place) { *value } else { T::default() })
            .collect()
    }
    let kept = |place: usize| {
        let (rows, columns) = (rows.max(1) as usize, columns.max(1) as usize);
        kept((place / columns % rows) as u32, (place % columns) as u32)
    };
    let data = match &x.data {
        ConstantData::F32(values) => ConstantData::F32(zeroed(values, kept)),
        ConstantData::F64(values) => ConstantData::F64(zeroed(values, kept)),
        ConstantData::I32(values) => ConstantData::I32(zeroed(values, kept)),
        ConstantData::I64(values) => ConstantData::I64(zeroed(values, kept)),
        ConstantData::Bool(values) => ConstantData::Bool(zeroed(values, kept)),
    };
    Constant { shape: x.shape.clone(), data }
}
