//! The transform against its definition, and against what every transform keeps.

use core::f64::consts::TAU;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Samples between -1 and 1 from a seed (SplitMix64).
fn noise<const N: usize>(seed: u64) -> [f32; N] {
    let mut state = seed;
    core::array::from_fn(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    })
}

/// The definition, in f64.
fn defined<const N: usize>(samples: &[f32; N]) -> Vec<[f64; 2]> {
    let bin = |k: usize| {
        samples.iter().enumerate().fold([0.0, 0.0], |[re, im], (n, x)| {
            let turn = TAU * ((k * n) % N) as f64 / N as f64;
            [re + f64::from(*x) * libm::cos(turn), im - f64::from(*x) * libm::sin(turn)]
        })
    };
    (0..=N / 2).map(bin).collect()
}

/// The root mean square of the difference to the definition, by that of the definition.
fn error<const N: usize, const BINS: usize>(seed: u64) -> f64 {
    let samples = noise::<N>(seed);
    let [re, im]: [[f32; BINS]; 2] = Fft::new().spectrum(&samples);
    let wanted = defined(&samples);
    let square = |[re, im]: [f64; 2]| re * re + im * im;
    let wrong = re.iter().zip(im).zip(&wanted).map(|((re, im), [wanted_re, wanted_im])| {
        square([f64::from(*re) - wanted_re, f64::from(im) - wanted_im])
    });
    (wrong.sum::<f64>() / wanted.iter().copied().map(square).sum::<f64>()).sqrt()
}

#[test]
fn every_size_equals_the_definition() {
    let errors = [
        error::<32, 17>(1),
        error::<64, 33>(2),
        error::<128, 65>(3),
        error::<256, 129>(4),
        error::<512, 257>(5),
        error::<1024, 513>(6),
        error::<2048, 1025>(7),
    ];
    assert!(errors.iter().all(|error| *error < 2e-7), "{errors:?}");
}

#[test]
fn power_is_the_square_of_the_spectrum() {
    let (fft, samples) = (Fft::<128>::new(), noise(9));
    let power: [f32; 65] = fft.power(&samples);
    let [re, im]: [[f32; 65]; 2] = fft.spectrum(&samples);
    for ((power, re), im) in power.iter().zip(re).zip(im) {
        assert_eq!(*power, re * re + im * im);
    }
}

#[test]
fn one_sample_without_a_value_spoils_every_bin_and_nothing_else() {
    let (fft, mut samples) = (Fft::<64>::new(), noise(10));
    let clean: [f32; 33] = fft.power(&samples);
    samples[17] = f32::NAN;
    let broken: [f32; 33] = fft.power(&samples);
    assert!(broken.iter().all(|bin| bin.is_nan()));
    samples[17] = noise::<64>(10)[17];
    assert_eq!(fft.power::<33>(&samples), clean);
}

proptest! {
    #[test]
    fn parseval(seed: u64, scale in 1e-3f32..1e3) {
        let samples = noise::<256>(seed).map(|x| x * scale);
        let energy: f64 = samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let all = Bands::<1, 129>::new(1.0, [[0.0, 0.5]]);
        let [found] = all.energies(&Fft::new().power(&samples));
        prop_assert!((f64::from(found) / energy - 1.0).abs() < 1e-5, "{found} is not {energy}");
    }

    #[test]
    fn linearity(a: u64, b: u64, factor in -4.0f32..4.0) {
        let fft = Fft::<64>::new();
        let (x, y) = (noise::<64>(a), noise::<64>(b));
        let together: [f32; 64] = core::array::from_fn(|n| x[n] + factor * y[n]);
        let spectra: [[[f32; 33]; 2]; 3] = [x, y, together].map(|samples| fft.spectrum(&samples));
        let [x, y, together] = spectra.map(|parts| parts.concat());
        for ((x, y), found) in x.iter().zip(y).zip(together) {
            prop_assert!((found - (x + factor * y)).abs() < 1e-4);
        }
    }

    #[test]
    fn a_shift_turns_phases_and_keeps_powers(seed: u64, by in 0usize..128) {
        let fft = Fft::<128>::new();
        let samples = noise::<128>(seed);
        let mut shifted = samples;
        shifted.rotate_left(by);
        let [power, same]: [[f32; 65]; 2] = [samples, shifted].map(|samples| fft.power(&samples));
        for (a, b) in power.iter().zip(same) {
            prop_assert!((a - b).abs() < 1e-3, "{a} is not {b}");
        }
    }
}
