//! Fixed point beside floating point.

use proptest::prelude::*;

use super::*;
use crate::filter::{Cascade, Fir};

/// The greatest difference of two cascades over a signal, in steps of a sample.
fn worst(design: [Biquad; 2], signal: impl Iterator<Item = i16>) -> f32 {
    let (mut fixed, mut float) = (CascadeQ15::new(design), Cascade::<2>::new(design));
    let difference = |x: i16| {
        let exact = float.step(x.into()).clamp(i16::MIN.into(), i16::MAX.into());
        (f32::from(fixed.step(x)) - exact).abs()
    };
    signal.map(difference).fold(0.0, f32::max)
}

#[test]
fn a_cascade_stays_within_a_step() {
    for share in [5e-4, 1e-3, 1e-2, 0.1, 0.3, 0.49, 0.4995] {
        for design in [Biquad::butterworth_low_pass::<2>, Biquad::butterworth_high_pass::<2>] {
            // A square wave at half of full scale, over several time constants.
            let length = (8.0 / share) as usize;
            let square = (0..2 * length).map(|n| if n < length { 16_384 } else { -16_384 });
            let found = worst(design(1.0, share), square);
            assert!(found <= 2.0, "{share}: {found}");
        }
    }
}

#[test]
fn what_exceeds_full_scale_is_saturated() {
    let mut filter = CascadeQ15::<1>::new([Biquad::low_pass(1000.0, 100.0, 8.0)]);
    let loudest = (0..100).map(|_| filter.step(30_000)).max();
    assert_eq!(loudest, Some(i16::MAX));
    filter.reset();
    assert_eq!(filter.step(0), 0);
    let mut fir = FirQ15::new([i16::MIN, i16::MIN]);
    assert_eq!(
        [i16::MIN, i16::MIN, i16::MAX, i16::MAX].map(|x| fir.step(x)),
        [i16::MAX, i16::MAX, 1, i16::MIN]
    );
}

#[test]
fn refuses_what_is_too_fine() {
    let design = |share: f64| {
        std::panic::catch_unwind(|| CascadeQ15::new([Biquad::low_pass(1.0, share, 0.7)])).is_ok()
    };
    assert!(design(5e-4) && !design(4e-4) && design(0.4995) && !design(0.4997));
    let large = Biquad { b: [4.0, 1.0, 0.0], a: [-1.9, 0.95] };
    assert!(std::panic::catch_unwind(|| CascadeQ15::new([large])).is_err());
}

proptest! {
    /// Nothing overflows, whatever comes: in tests an overflow panics.
    #[test]
    fn a_cascade_takes_any_samples(
        samples in prop::collection::vec(prop::sample::select(&[i16::MIN, -1, 0, 1, i16::MAX][..]), 1..300),
        share in 6e-4f64..0.4994, q in 0.1f64..100.0,
    ) {
        let designs = [Biquad::low_pass, Biquad::high_pass, Biquad::band_pass, Biquad::notch];
        for design in designs.map(|design| design(1.0, share, q)) {
            let sum: f64 = design.b.iter().chain(&design.a).map(|x| x.abs()).sum();
            if sum <= 7.0 && 1.0 + design.a[0] + design.a[1] >= 1e-5 && 1.0 - design.a[0] + design.a[1] >= 1e-5 {
                CascadeQ15::new([design; 3]).run(&mut samples.clone());
            }
        }
    }

    #[test]
    fn a_fir_is_that_of_its_taps(
        taps in prop::array::uniform9(-3000i16..3000), samples in prop::collection::vec(any::<i16>(), 1..60),
    ) {
        let (mut fixed, mut float) =
            (FirQ15::new(taps), Fir::new(taps.map(|tap| f32::from(tap) / 32_768.0)));
        for x in samples {
            prop_assert!((f32::from(fixed.step(x)) - float.step(x.into())).abs() <= 0.51);
        }
    }

    #[test]
    fn quantised_is_the_nearest(number in -1.0f32..0.9999) {
        let [found] = quantise([number]);
        prop_assert!((f32::from(found) - number * 32_768.0).abs() <= 0.5);
    }
}
