//! sin, cos, exp and ln in constants, where `libm` cannot be called: what tables and designs are made from.
//!
//! All in f64, within a few units in the last place, which is far below the rounding of the f32 tables made
//! from them. Series are cut where the next term is below 2^-56 of the sum.

use core::f64::consts::{LN_2, PI, SQRT_2};

/// `2^exponent`, for exponents of normal numbers.
const fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The nearest whole number, for magnitudes below 2^52; halves go up.
const fn round(x: f64) -> f64 {
    let down = (x + 0.5) as i64 as f64;
    if down > x + 0.5 { down - 1.0 } else { down }
}

/// cos(πx).
pub(crate) const fn cos_pi(x: f64) -> f64 {
    // Exact: a multiple of 2 is taken off, then the sign.
    let x = x - 2.0 * round(x / 2.0);
    let x = if x < 0.0 { -x } else { x };
    if x <= 0.25 {
        cosine(PI * x)
    } else if x < 0.75 {
        sine(PI * (0.5 - x))
    } else {
        -cosine(PI * (1.0 - x))
    }
}

/// sin(πx).
pub(crate) const fn sin_pi(x: f64) -> f64 {
    cos_pi(x - 2.0 * round(x / 2.0) - 0.5)
}

/// The Taylor series of the cosine, for |x| <= π/4.
const fn cosine(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 0.0);
    while n < 18.0 {
        term *= -x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// The Taylor series of the sine, for |x| <= π/4.
const fn sine(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    while n < 19.0 {
        term *= -x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// e^x, for |x| < 700.
pub(crate) const fn exp(x: f64) -> f64 {
    let k = round(x / LN_2);
    // LN_2 in two parts, so that the difference is exact enough.
    let high = 6.931_471_803_691_238e-1;
    let r = (x - k * high) - k * 1.908_214_929_270_587_7e-10;
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while n < 16.0 {
        term *= r / n;
        sum += term;
        n += 1.0;
    }
    sum * power_of_two(k as i64)
}

/// ln x, for normal x > 0.
pub(crate) const fn ln(x: f64) -> f64 {
    let mut exponent = (x.to_bits() >> 52) as i64 - 1023;
    let mut m = x * power_of_two(-exponent);
    if m > SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh s.
    let s = (m - 1.0) / (m + 1.0);
    let (mut sum, mut power, mut n) = (0.0, s, 1.0);
    while n < 25.0 {
        sum += power / n;
        power *= s * s;
        n += 2.0;
    }
    2.0 * sum + exponent as f64 * LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greatest difference to `theirs` over a grid, relative to the greater of 1 and the value.
    fn worst(from: f64, to: f64, ours: fn(f64) -> f64, theirs: fn(f64) -> f64) -> f64 {
        let grid = (0..=10_000).map(|i| from + (to - from) * f64::from(i) / 10_000.0);
        grid.map(|x| (ours(x) - theirs(x)).abs() / theirs(x).abs().max(1.0)).fold(0.0, f64::max)
    }

    #[test]
    fn series_are_within_a_few_units_in_the_last_place() {
        assert!(worst(-1.0, 1.0, cos_pi, |x| libm::cos(PI * x)) < 1e-15);
        assert!(worst(-1.0, 1.0, sin_pi, |x| libm::sin(PI * x)) < 1e-15);
        assert!(worst(-20.0, 20.0, exp, libm::exp) < 1e-15);
        assert!(worst(1e-3, 1e4, ln, libm::log) < 4e-16);
    }

    #[test]
    fn quarters_of_a_turn_are_exact() {
        let quarters = [0.0, 0.5, 1.0, 1.5, 2.0, -0.5, 1001.0];
        assert_eq!(quarters.map(cos_pi), [1.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0]);
        assert_eq!(quarters.map(sin_pi), [0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0]);
    }
}
