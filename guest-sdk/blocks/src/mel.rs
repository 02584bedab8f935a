//! What speech models hear: mel filters over a power spectrum, decibels, DCT-II, and the four blocks in a
//! row, MFCC.
//!
//! The numbers are librosa's (B. McFee et al., "librosa: Audio and music signal analysis in Python",
//! SciPy 2015), whose `librosa.filters.mel`, `power_to_db`, `scipy.fft.dct` and `feature.mfcc` the tests
//! compare with. One step is left out: librosa's MFCC raises all levels to 80 dB below the loudest of the
//! *whole recording* (`top_db=80`), which no stream knows; compare with `top_db=None`.

use crate::fft::Fft;
use crate::lanes;
use crate::series::{cos_pi, exp, ln};
use crate::window;

/// Two conventions of the mel scale, and of the filters' heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Linear up to 1000 Hz (15 mel), a factor of 6.4 in 27 mel above; each triangle has the area 1 over
    /// hertz. From M. Slaney's Auditory Toolbox (1998), librosa's default.
    Slaney,
    /// `2595 log10(1 + f/700)`; each triangle is 1 high. The scale of HTK (S. Young et al., The HTK Book):
    /// librosa's `htk=True, norm=None`, and torchaudio's default. HTK itself, and Kaldi, draw the sides of
    /// their triangles straight in mel; here they are straight in hertz.
    Htk,
}

/// Mel of the corner between the linear and the logarithmic part of Slaney's scale.
const CORNER_MEL: f64 = 15.0;
/// And its frequency.
const CORNER_HZ: f64 = 1000.0;
/// Hertz of a mel below the corner.
const HZ_OF_MEL: f64 = 200.0 / 3.0;

/// Slaney's step above the corner: ln of the factor of one mel.
const fn log_step() -> f64 {
    ln(6.4) / 27.0
}

const fn mel(hz: f64, convention: Convention) -> f64 {
    match convention {
        Convention::Slaney if hz < CORNER_HZ => hz / HZ_OF_MEL,
        Convention::Slaney => CORNER_MEL + ln(hz / CORNER_HZ) / log_step(),
        Convention::Htk => 2595.0 * ln(1.0 + hz / 700.0) / core::f64::consts::LN_10,
    }
}

const fn hertz(mel: f64, convention: Convention) -> f64 {
    match convention {
        Convention::Slaney if mel < CORNER_MEL => mel * HZ_OF_MEL,
        Convention::Slaney => CORNER_HZ * exp(log_step() * (mel - CORNER_MEL)),
        Convention::Htk => 700.0 * (exp(mel / 2595.0 * core::f64::consts::LN_10) - 1.0),
    }
}

/// `MELS` triangles over the `BINS` = N/2 + 1 bins of a power spectrum.
///
/// Triangle m rises from frequency `f[m]` to `f[m+1]` and falls to `f[m+2]`, where the f are equally far
/// apart in mel, from the lowest frequency to the highest. A bin lies on one rising and one falling side at
/// most, so two weights a bin are kept.
///
/// ```
/// use dunlin_blocks::mel::{Bank, Convention};
///
/// // 20 filters from 0 to 8 kHz over a transform of 512 samples at 16 kHz.
/// static BANK: Bank<257, 20> = Bank::new(16_000.0, [0.0, 8_000.0], Convention::Slaney);
/// let energies = BANK.energies(&[1.0; 257]);
/// assert!(energies.iter().all(|energy| *energy > 0.0));
/// ```
#[derive(Clone, Debug)]
pub struct Bank<const BINS: usize, const MELS: usize> {
    /// The weight of each bin on the rising side that it lies on, and on the falling one.
    rising: [f32; BINS],
    falling: [f32; BINS],
    /// The first bin above the foot, above the top, and above the end of each triangle.
    edges: [[usize; 3]; MELS],
}

impl<const BINS: usize, const MELS: usize> Bank<BINS, MELS> {
    /// Triangles over `[lowest, highest]` hertz, of samples at `rate_hz`.
    ///
    /// # Panics
    /// `0 <= lowest < highest <= rate/2` does not hold: in a constant, a compile error.
    pub const fn new(rate_hz: f64, [low, high]: [f64; 2], convention: Convention) -> Self {
        const { assert!(BINS >= 2 && MELS >= 1, "there are N/2 + 1 bins, and a filter") };
        assert!(0.0 <= low && low < high && high <= rate_hz / 2.0, "0 <= lowest < highest <= rate/2");
        let (lowest, highest) = (mel(low, convention), mel(high, convention));
        let mut bank = Bank { rising: [0.0; BINS], falling: [0.0; BINS], edges: [[0; 3]; MELS] };
        let bin_hz = rate_hz / (2 * (BINS - 1)) as f64;
        let mut m = 0;
        while m < MELS {
            let mut f = [0.0; 3];
            let mut corner = 0;
            while corner < 3 {
                let share = (m + corner) as f64 / (MELS + 1) as f64;
                f[corner] = hertz(lowest + share * (highest - lowest), convention);
                let mut bin = 0;
                while bin < BINS && bin as f64 * bin_hz <= f[corner] {
                    bin += 1;
                }
                bank.edges[m][corner] = bin;
                corner += 1;
            }
            let height = match convention {
                Convention::Slaney => 2.0 / (f[2] - f[0]),
                Convention::Htk => 1.0,
            };
            let [foot, top, end] = bank.edges[m];
            let mut bin = foot;
            while bin < end {
                let hz = bin as f64 * bin_hz;
                if bin < top {
                    bank.rising[bin] = (height * (hz - f[0]) / (f[1] - f[0])) as f32;
                } else {
                    bank.falling[bin] = (height * (f[2] - hz) / (f[2] - f[1])) as f32;
                }
                bin += 1;
            }
            m += 1;
        }
        bank
    }

    /// The weighted sum of each triangle: `sum over k of weight[m][k] power[k]`.
    ///
    /// A triangle that no bin lies under gives 0: take fewer, or a longer transform. NaN and infinities
    /// reach the triangles over their bins.
    pub fn energies(&self, power: &[f32; BINS]) -> [f32; MELS] {
        let side = |weights: &[f32; BINS], first, end| {
            let range = first..end;
            lanes::dot(weights.get(range.clone()).unwrap_or(&[]), power.get(range).unwrap_or(&[]))
        };
        self.edges.map(|[foot, top, end]| side(&self.rising, foot, top) + side(&self.falling, top, end))
    }
}

/// `10 log10(max(1e-10, power))`, in place: librosa's `power_to_db` with its defaults but for
/// `top_db=None`. A NaN stays NaN.
///
/// ```
/// let mut levels = [100.0, 1.0, 0.0];
/// dunlin_blocks::mel::decibels(&mut levels);
/// assert_eq!(levels, [20.0, 0.0, -100.0]);
/// ```
pub fn decibels(powers: &mut [f32]) {
    for power in powers {
        // Not `f32::max`, which gives the other number for a NaN.
        let floored = if *power < 1e-10 { 1e-10 } else { *power };
        *power = 10.0 * libm::log10f(floored);
    }
}

/// The first `OUT` coefficients of the orthonormal DCT-II of `IN` values:
///
/// ```text
/// y[k] = s[k] sum over n of x[n] cos(πk(2n + 1) / 2 IN),   s[0] = sqrt(1/IN), else sqrt(2/IN)
/// ```
///
/// as `scipy.fft.dct(x, type=2, norm="ortho")`. Source: N. Ahmed, T. Natarajan and K. R. Rao, "Discrete
/// cosine transform", IEEE Transactions on Computers C-23 (1974).
///
/// ```
/// use dunlin_blocks::mel::Dct;
///
/// static DCT: Dct<4, 2> = Dct::new();
/// let y = DCT.transform(&[1.0; 4]);
/// assert!((y[0] - 2.0).abs() < 1e-6 && y[1].abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct Dct<const IN: usize, const OUT: usize> {
    rows: [[f32; IN]; OUT],
}

impl<const IN: usize, const OUT: usize> Dct<IN, OUT> {
    /// The transform, with its table computed.
    #[expect(clippy::new_without_default, reason = "a block is made in a constant")]
    pub const fn new() -> Self {
        const { assert!(0 < OUT && OUT <= IN, "there are as many coefficients as values, or fewer") };
        let mut rows = [[0.0; IN]; OUT];
        let mut k = 0;
        while k < OUT {
            // exp(ln(x)/2) is the root, which constants have not.
            let scale = exp(0.5 * ln(if k == 0 { 1.0 } else { 2.0 } / IN as f64));
            let mut n = 0;
            while n < IN {
                // Whole numbers first, so that the angle is rounded once.
                let quarter = k * (2 * n + 1) % (4 * IN);
                rows[k][n] = (scale * cos_pi(quarter as f64 / (2 * IN) as f64)) as f32;
                n += 1;
            }
            k += 1;
        }
        Dct { rows }
    }

    /// The coefficients. A NaN or an infinity reaches all of them.
    pub fn transform(&self, values: &[f32; IN]) -> [f32; OUT] {
        core::array::from_fn(|k| lanes::dot(&self.rows[k], values))
    }
}

/// Mel-frequency cepstral coefficients of one frame of `N` samples: window, power spectrum, mel filters,
/// decibels, DCT-II.
///
/// `BINS` is N/2 + 1. One frame at a time: cut the stream with [`window::Sliding`]. librosa's
/// `feature.mfcc` with `center=False`, `n_fft=N`, `n_mels=MELS`, `n_mfcc=COEFFICIENTS` (but for `top_db`,
/// see [above](self)). S. Davis and P. Mermelstein, "Comparison of parametric representations for
/// monosyllabic word recognition", IEEE Transactions on Acoustics, Speech and Signal Processing 28 (1980).
///
/// ```
/// use dunlin_blocks::{mel::{Bank, Convention, Mfcc}, window::{Symmetry, hann}};
///
/// static MFCC: Mfcc<512, 257, 40, 13> = Mfcc::new(
///     hann(Symmetry::Periodic),
///     Bank::new(16_000.0, [0.0, 8_000.0], Convention::Slaney),
/// );
/// let silence = MFCC.coefficients(&[0.0; 512]);
/// assert!((silence[0] - -100.0 * 40f32.sqrt()).abs() < 1e-2 && silence[1].abs() < 1e-3);
/// ```
#[derive(Clone, Debug)]
pub struct Mfcc<const N: usize, const BINS: usize, const MELS: usize, const COEFFICIENTS: usize> {
    weights: [f32; N],
    fft: Fft<N>,
    bank: Bank<BINS, MELS>,
    dct: Dct<MELS, COEFFICIENTS>,
}

impl<const N: usize, const BINS: usize, const MELS: usize, const COEFFICIENTS: usize>
    Mfcc<N, BINS, MELS, COEFFICIENTS>
{
    /// The four blocks, with this window and these mel filters.
    pub const fn new(weights: [f32; N], bank: Bank<BINS, MELS>) -> Self {
        Mfcc { weights, fft: Fft::new(), bank, dct: Dct::new() }
    }

    /// The mel levels of a frame, in decibels. All are NaN where a sample is NaN or infinite and its weight is not 0.
    pub fn levels(&self, frame: &[f32; N]) -> [f32; MELS] {
        let mut faded = *frame;
        window::apply(&mut faded, &self.weights);
        let mut levels = self.bank.energies(&self.fft.power(&faded));
        decibels(&mut levels);
        levels
    }

    /// The coefficients of a frame; all are NaN where a level is.
    pub fn coefficients(&self, frame: &[f32; N]) -> [f32; COEFFICIENTS] {
        self.dct.transform(&self.levels(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_scales_have_the_points_that_define_them() {
        assert!((mel(1000.0, Convention::Slaney) - 15.0).abs() < 1e-12);
        assert!((mel(6400.0, Convention::Slaney) - 42.0).abs() < 1e-12);
        assert!((mel(1000.0, Convention::Htk) - 999.985_537).abs() < 1e-5);
        for convention in [Convention::Slaney, Convention::Htk] {
            for hz in [0.0, 20.0, 999.0, 1001.0, 7999.0] {
                assert!((hertz(mel(hz, convention), convention) - hz).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn triangles_of_htk_add_up_to_one_between_the_outer_tops() {
        let bank = Bank::<257, 30>::new(16_000.0, [0.0, 8000.0], Convention::Htk);
        let [_, first_top, _] = bank.edges[0];
        let [_, last_top, _] = bank.edges[29];
        for bin in first_top..last_top {
            assert!((bank.rising[bin] + bank.falling[bin] - 1.0).abs() < 1e-6, "bin {bin}");
        }
    }

    #[test]
    fn triangles_of_slaney_have_an_area_of_one_hertz() {
        let bank = Bank::<4097, 20>::new(16_000.0, [100.0, 8000.0], Convention::Slaney);
        for area in bank.energies(&[8000.0 / 4096.0; 4097]) {
            assert!((area - 1.0).abs() < 1e-3, "{area}");
        }
    }

    #[test]
    fn no_power_has_a_level_and_nan_has_none() {
        let mut levels = [0.0, f32::NAN, -1.0, f32::INFINITY];
        decibels(&mut levels);
        assert!(levels[1].is_nan(), "{levels:?}");
        assert_eq!([levels[0], levels[2], levels[3]], [-100.0, -100.0, f32::INFINITY]);
    }

    #[test]
    fn a_broken_frame_has_no_coefficients() {
        let mfcc = Mfcc::<512, 257, 40, 13>::new(
            window::hann(window::Symmetry::Periodic),
            Bank::new(16_000.0, [0.0, 8000.0], Convention::Slaney),
        );
        for broken in [f32::NAN, f32::INFINITY] {
            let mut frame = [0.0; 512];
            frame[100] = broken;
            assert!(mfcc.coefficients(&frame).iter().all(|x| x.is_nan()), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn the_whole_dct_keeps_energy(values in prop::array::uniform20(-100.0f32..100.0)) {
            let energy = |values: &[f32]| values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
            let found = energy(&Dct::<20, 20>::new().transform(&values));
            prop_assert!((found - energy(&values)).abs() <= 1e-5 * energy(&values));
        }
    }
}
