//! Filters and windows of 16-bit samples, for models that take what the converter gives.
//!
//! A sample is Q15: an `i16` that stands for itself over 32,768, from -1 up to but not including 1. Results that are
//! outside of it are *saturated*: the nearest `i16` is given. Products round to the nearest, halves up. All of it is
//! integer arithmetic; `dunlin_q15.h` has the same for C, with the same bits.
//!
//! | block | error beside the same in f64 |
//! |---|---|
//! | [`apply`] | half a step of the sample, and of the weight |
//! | [`FirQ15`] | half a step, and that of the quantised taps: at most `TAPS`/2 steps at full scale, a few as a rule |
//! | [`CascadeQ15`] | two steps as long as nothing saturates |

use crate::filter::Biquad;

/// Bits of the fraction of a sample.
const SAMPLE_BITS: u32 = 15;
/// Bits of the fraction of a coefficient of [`CascadeQ15`].
const COEFFICIENT_BITS: u32 = 29;
/// Bits by which states are finer than samples, which leaves four bits above full scale.
const FINER_BITS: u32 = 12;

/// Numbers as Q15, rounded to the nearest and saturated: 1.0 becomes 32767. NaN becomes 0.
///
/// ```
/// use dunlin_blocks::{fixed, window};
///
/// const HANN: [i16; 4] = fixed::quantise(window::hann(window::Symmetry::Periodic));
/// assert_eq!(HANN, [0, 16_384, 32_767, 16_384]);
/// ```
pub const fn quantise<const N: usize>(numbers: [f32; N]) -> [i16; N] {
    let mut quantised = [0; N];
    let mut n = 0;
    while n < N {
        let scaled = numbers[n] as f64 * (1u32 << SAMPLE_BITS) as f64;
        // `as` saturates, and takes NaN for 0.
        quantised[n] = (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i16;
        n += 1;
    }
    quantised
}

/// `number` over 2^bits, rounded to the nearest and saturated.
#[inline(always)]
fn rounded(number: i64, bits: u32) -> i16 {
    saturated((number + (1 << (bits - 1))) >> bits)
}

#[inline(always)]
fn saturated(number: i64) -> i16 {
    number.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Multiplies each sample by its weight.
///
/// ```
/// let mut samples = [20_000, -20_000, i16::MIN];
/// dunlin_blocks::fixed::apply(&mut samples, &[16_384, 16_384, i16::MIN]);
/// assert_eq!(samples, [10_000, -10_000, i16::MAX], "1 is saturated");
/// ```
#[inline]
pub fn apply<const N: usize>(samples: &mut [i16; N], weights: &[i16; N]) {
    for (sample, weight) in samples.iter_mut().zip(weights) {
        *sample = rounded(i64::from(*sample) * i64::from(*weight), SAMPLE_BITS);
    }
}

/// A filter with a finite impulse response: `y[n] = sum over k of taps[k] x[n-k]`, summed exactly, rounded once.
///
/// ```
/// use dunlin_blocks::{filter::Fir, fixed::{FirQ15, quantise}};
///
/// // scipy's firwin(31, 100, fs=1000).
/// const TAPS: [i16; 31] = quantise(Fir::<31>::low_pass_taps(1000.0, 100.0));
/// let mut filter = FirQ15::new(TAPS);
/// let last = (0..100).map(|_| filter.step(10_000)).last();
/// assert!(last.is_some_and(|y| (9_998..=10_002).contains(&y)));
/// ```
#[derive(Clone, Debug)]
pub struct FirQ15<const TAPS: usize> {
    /// Last tap first, as the oldest sample comes first.
    reversed: [i16; TAPS],
    /// The last samples, twice in a row, so that the last `TAPS` always lie side by side.
    history: [[i16; TAPS]; 2],
    next: usize,
}

impl<const TAPS: usize> FirQ15<TAPS> {
    /// The filter at rest.
    pub const fn new(taps: [i16; TAPS]) -> Self {
        const { assert!(TAPS > 0, "a filter has a tap") };
        let mut reversed = taps;
        let mut k = 0;
        while k < TAPS {
            reversed[TAPS - 1 - k] = taps[k];
            k += 1;
        }
        FirQ15 { reversed, history: [[0; TAPS]; 2], next: 0 }
    }

    /// Takes the next sample and gives the filtered one.
    #[inline]
    pub fn step(&mut self, sample: i16) -> i16 {
        for half in &mut self.history {
            if let Some(place) = half.get_mut(self.next) {
                *place = sample;
            }
        }
        self.next = if self.next + 1 < TAPS { self.next + 1 } else { 0 };
        let last = self.history.as_flattened().get(self.next..).unwrap_or(&[]);
        let products = self.reversed.iter().zip(last).map(|(a, b)| i64::from(i32::from(*a) * i32::from(*b)));
        rounded(products.sum(), SAMPLE_BITS)
    }

    /// Back to rest.
    pub const fn reset(&mut self) {
        (self.history, self.next) = ([[0; TAPS]; 2], 0);
    }
}

/// A section with coefficients of 29 bits behind the point, in direct form I.
#[derive(Clone, Copy, Debug)]
struct Section {
    b: [i32; 3],
    a: [i32; 2],
    /// The last two inputs and outputs, the newest first, [`FINER_BITS`] finer than samples.
    x: [i32; 2],
    y: [i32; 2],
    /// What rounding has left over, which the next sum takes up: so errors do not add up at low frequencies.
    rest: i64,
}

impl Section {
    const fn new(Biquad { b, a }: Biquad) -> Section {
        // The sum of a step fits 64 bits: 7 times 2^29 times 2^31.
        let sum = magnitude(b[0]) + magnitude(b[1]) + magnitude(b[2]) + magnitude(a[0]) + magnitude(a[1]);
        assert!(sum <= 7.0, "the coefficients of a section in fixed point sum up to 7 at most");
        assert!(
            1.0 + a[0] + a[1] >= CascadeQ15::<1>::LEAST_DENOMINATOR
                && 1.0 - a[0] + a[1] >= CascadeQ15::<1>::LEAST_DENOMINATOR,
            "the frequency is too close to 0 or to rate/2 for fixed point: take `filter::Cascade`, or another rate"
        );
        let b = [coefficient(b[0]), coefficient(b[1]), coefficient(b[2])];
        let a = [coefficient(a[0]), coefficient(a[1])];
        Section { b, a, x: [0; 2], y: [0; 2], rest: 0 }
    }

    #[inline(always)]
    fn step(&mut self, x: i32) -> i32 {
        let product = |a: i32, b: i32| i64::from(a) * i64::from(b);
        let [b0, b1, b2] = self.b;
        let [a1, a2] = self.a;
        let inputs = product(b0, x) + product(b1, self.x[0]) + product(b2, self.x[1]);
        let sum = inputs - product(a1, self.y[0]) - product(a2, self.y[1]) + self.rest;
        let y = (sum >> COEFFICIENT_BITS).clamp(i32::MIN.into(), i32::MAX.into());
        self.rest = sum & ((1 << COEFFICIENT_BITS) - 1);
        let y = y as i32;
        (self.x, self.y) = ([x, self.x[0]], [y, self.y[0]]);
        y
    }
}

const fn magnitude(x: f64) -> f64 {
    if x < 0.0 { -x } else { x }
}

const fn coefficient(x: f64) -> i32 {
    let scaled = x * (1u64 << COEFFICIENT_BITS) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// Sections one after the other, of 16-bit samples.
///
/// The designs are those of [`Biquad`]. Between sections there are 12 bits more than in a sample, and room for 16
/// times full scale; beyond it, and at the output beyond full scale, numbers are saturated. Coefficients have 29 bits
/// behind the point, which moves the gain by 1.4·10⁻⁴ at most:
/// a section whose `1 + a1 + a2`, or `1 - a1 + a2`, is below [`LEAST_DENOMINATOR`](CascadeQ15::LEAST_DENOMINATOR) is
/// refused, in a constant at compile time. That leaves cutoffs from 5·10⁻⁴ of the rate.
///
/// ```
/// use dunlin_blocks::{filter::Biquad, fixed::CascadeQ15};
///
/// // Order 4 at 100 Hz, of samples at 1 kHz.
/// const FILTER: CascadeQ15<2> = CascadeQ15::new(Biquad::butterworth_low_pass(1000.0, 100.0));
/// let mut filter = FILTER;
/// let last = (0..500).map(|_| filter.step(10_000)).last();
/// assert_eq!(last, Some(10_000), "what does not change passes");
/// ```
#[derive(Clone, Debug)]
pub struct CascadeQ15<const SECTIONS: usize> {
    sections: [Section; SECTIONS],
}

impl<const SECTIONS: usize> CascadeQ15<SECTIONS> {
    /// The least `1 + a1 + a2` of a section, and the least `1 - a1 + a2`.
    pub const LEAST_DENOMINATOR: f64 = 9.8e-6;

    /// The cascade at rest.
    ///
    /// # Panics
    /// A section cannot be computed in fixed point: in a constant, a compile error.
    pub const fn new(designs: [Biquad; SECTIONS]) -> Self {
        let mut sections = [Section { b: [0; 3], a: [0; 2], x: [0; 2], y: [0; 2], rest: 0 }; SECTIONS];
        let mut k = 0;
        while k < SECTIONS {
            sections[k] = Section::new(designs[k]);
            k += 1;
        }
        CascadeQ15 { sections }
    }

    /// Takes the next sample and gives the filtered one.
    #[inline]
    pub fn step(&mut self, sample: i16) -> i16 {
        let last =
            self.sections.iter_mut().fold(i32::from(sample) << FINER_BITS, |x, section| section.step(x));
        rounded(last.into(), FINER_BITS)
    }

    /// Filters the next samples in place.
    #[inline]
    pub fn run(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = self.step(*sample);
        }
    }

    /// Back to rest.
    pub fn reset(&mut self) {
        for section in &mut self.sections {
            (section.x, section.y, section.rest) = ([0; 2], [0; 2], 0);
        }
    }
}

#[cfg(test)]
mod tests;
