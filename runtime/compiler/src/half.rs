//! Weights as IEEE 754 half-precision numbers: half the download.

/// The halves nearest to float32 numbers given by their bits, ties to even; `None` if one is too large for
/// a half or is no number.
pub(crate) fn narrowed(words: &[u32]) -> Option<Vec<u16>> {
    words.iter().map(|word| narrow(f32::from_bits(*word))).collect()
}

fn narrow(number: f32) -> Option<u16> {
    let sign = (number.to_bits() >> 16) as u16 & 0x8000;
    let size = number.abs();
    // What would round up to 65536 is too large.
    if size.is_nan() || size >= 65_520.0 {
        return None;
    }
    // Scaled so that the unit of the half's last place is the unit of an integer: below 2^-14 the
    // halves are evenly spaced by 2^-24.
    let bits = size.to_bits();
    if size < f32::from_bits(113 << 23) {
        let units = libm::rintf(size * 16_777_216.0);
        return Some(sign | units as u16);
    }
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    Some(sign | ((rounded - (112 << 23)) >> 13) as u16)
}

/// The float32 of a half, which is exact.
#[cfg(test)]
pub(crate) fn widened(half: u16) -> f32 {
    let size = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    if half & 0x8000 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_survives() {
        for half in (0..0x7c00u16).flat_map(|half| [half, half | 0x8000]) {
            assert_eq!(narrow(widened(half)), Some(half), "{half:#x}");
        }
    }

    #[test]
    fn numbers_go_to_the_nearest_half_and_ties_to_the_even_one() {
        for half in 0..0x7bffu16 {
            let (low, high) = (widened(half), widened(half + 1));
            let middle = (low + high) / 2.0;
            let even = if half % 2 == 0 { half } else { half + 1 };
            assert_eq!(narrow(middle), Some(even), "{half:#x}");
            assert_eq!(narrow(middle.next_up()), Some(half + 1));
            assert_eq!(narrow(middle.next_down()), Some(half));
        }
        assert_eq!((narrow(65_519.0), narrow(65_520.0), narrow(f32::NAN)), (Some(0x7bff), None, None));
    }
}
