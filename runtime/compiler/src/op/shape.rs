//! Shape: known here, because every shape is static; the batch axis becomes its mark.

use dunlin_abi::Dim;

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{BATCH_EXTENT, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let dims = call.shape(input).dims();
    let (start, end) = (call.int("start", 0)?, call.int("end", i64::MAX)?);
    let clamp = |index: i64| {
        let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
        let index = if index < 0 { index.saturating_add(rank) } else { index };
        usize::try_from(index.clamp(0, rank)).unwrap_or(0)
    };
    let extents: Vec<i64> = dims
        .get(clamp(start)..clamp(end))
        .unwrap_or_default()
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(extent) | Dim::AtMost(extent) => i64::from(*extent),
            Dim::Batch => BATCH_EXTENT,
        })
        .collect();
    let rank = u32::try_from(extents.len()).map_err(|_| Refusal::malformed("it has too many axes"))?;
    call.add_constant(Constant { shape: vec![rank], data: ConstantData::I64(extents) })
}
