//! Compares one output with what it must be.
//!
//! Integers and truth values are the same or wrong. NaN equals NaN, and an infinity only itself.

use dunlin_abi::DType;

use super::archive::Tensor;

/// How far a float may be off.
#[derive(Clone, Copy, Debug)]
pub enum Tolerance {
    /// Relative to the largest expected magnitude, or to 1.
    OfLargest(f64),
    /// Each element within `atol + rtol * |expected|`.
    OfEach { rtol: f64, atol: f64 },
}

/// The largest difference, relative to the largest expected magnitude or 1; an error if it is too large.
pub fn compare(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<f64, String> {
    match expected.dtype {
        DType::F32 => floats(
            &actual.elements(f32::from_le_bytes),
            &expected.elements(f32::from_le_bytes),
            &expected.shape,
            tolerance,
        ),
        DType::I32 => exact(
            &actual.elements(i32::from_le_bytes),
            &expected.elements(i32::from_le_bytes),
            &expected.shape,
        ),
        DType::I64 => exact(
            &actual.elements(i64::from_le_bytes),
            &expected.elements(i64::from_le_bytes),
            &expected.shape,
        ),
        DType::Bool => exact(&actual.bytes, &expected.bytes, &expected.shape),
        other => Err(format!("outputs of type {other} are not compared")),
    }
}

fn floats(actual: &[f32], expected: &[f32], shape: &[usize], tolerance: Tolerance) -> Result<f64, String> {
    let magnitudes = expected.iter().filter(|e| e.is_finite()).map(|e| f64::from(e.abs()));
    let scale = magnitudes.fold(1.0, f64::max);
    let (mut worst, mut place, mut off) = (0.0, None, 0);
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        let same = a == e || (a.is_nan() && e.is_nan());
        let difference = match (same, a.is_finite() && e.is_finite()) {
            (true, _) => 0.0,
            (false, true) => (f64::from(*a) - f64::from(*e)).abs(),
            (false, false) => f64::INFINITY,
        };
        let allowed = match tolerance {
            Tolerance::OfLargest(relative) => relative * scale,
            Tolerance::OfEach { rtol, atol } => atol + rtol * f64::from(e.abs()),
        };
        // Of an infinity the allowance is infinite, and nothing is near it.
        let near = same || (difference.is_finite() && difference <= allowed);
        off += usize::from(!near);
        if place.is_none() || difference / scale > worst {
            (worst, place) = (difference / scale, Some(index));
        }
    }
    match place.filter(|_| off > 0) {
        None => Ok(worst),
        Some(index) => Err(format!(
            "largest difference {worst:.3e} at {:?}: {:?}, expected {:?}; {off} of {} elements differ",
            indices(index, shape),
            actual[index],
            expected[index],
            expected.len()
        )),
    }
}

fn exact<T: PartialEq + std::fmt::Debug>(
    actual: &[T],
    expected: &[T],
    shape: &[usize],
) -> Result<f64, String> {
    let differing: Vec<usize> =
        (0..expected.len()).filter(|index| actual[*index] != expected[*index]).collect();
    match differing.first() {
        None => Ok(0.0),
        Some(index) => Err(format!(
            "at {:?}: {:?}, expected {:?}; {} of {} elements differ",
            indices(*index, shape),
            actual[*index],
            expected[*index],
            differing.len(),
            expected.len()
        )),
    }
}

/// Where an element stands along each axis.
fn indices(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::with_capacity(shape.len());
    for extent in shape.iter().rev() {
        places.insert(0, index % extent);
        index /= extent;
    }
    places
}
