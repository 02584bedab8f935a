//! A guest that runs every block once, for tests: what a block computes in WebAssembly is compared with numpy, scipy,
//! librosa and scikit-learn (`tests/peers/blocks.py`), and with the native build, bit by bit (`tests/guest_blocks.rs`).
//!
//! `cargo build -p dunlin-blocks --example every_block --release --target wasm32-unknown-unknown` makes the module,
//! without SIMD; with it, set `RUSTFLAGS=-Ctarget-feature=+simd128`. For a model to copy, see `examples/vibration`.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_blocks::cluster::Centroids;
use dunlin_blocks::detect::{Cusum, Ewma, Shift};
use dunlin_blocks::fft::{Bands, Fft};
use dunlin_blocks::filter::{Biquad, Cascade, Fir};
use dunlin_blocks::fixed::{self, CascadeQ15, FirQ15};
use dunlin_blocks::lanes::F32x4;
use dunlin_blocks::layer::{Conv1d, Dense, relu, sigmoid, softmax};
use dunlin_blocks::mel::{Bank, Convention, Dct, Mfcc};
use dunlin_blocks::scale::Scaler;
use dunlin_blocks::stats::{self, Moments, P2, Recent, Running};
use dunlin_blocks::tree::{Forest, Node};
use dunlin_blocks::window::{self, Sliding, Symmetry};
use dunlin_guest::Failure;

/// Samples of the signal, at 16 kHz.
pub const N: usize = 1024;

const RATE_HZ: f64 = 16_000.0;
const SPEECH_HZ: [f64; 2] = [20.0, 8000.0];

static HANN: [f32; N] = window::hann(Symmetry::Periodic);
static HAMMING: [f32; N] = window::hamming(Symmetry::Periodic);
static BLACKMAN: [f32; N] = window::blackman(Symmetry::Symmetric);
static FFT: Fft<N> = Fft::new();
static SMALL_FFT: Fft<32> = Fft::new();
static HALF_FFT: Fft<512> = Fft::new();
static BANDS: Bands<4, 513> =
    Bands::new(RATE_HZ, [[0.0, 500.0], [500.0, 2000.0], [2000.0, 8000.0], [0.0, 8000.0]]);
static HTK: Bank<257, 40> = Bank::new(RATE_HZ, SPEECH_HZ, Convention::Htk);
static SLANEY: Bank<257, 40> = Bank::new(RATE_HZ, SPEECH_HZ, Convention::Slaney);
static MFCC: Mfcc<512, 257, 40, 13> =
    Mfcc::new(window::hann(Symmetry::Periodic), Bank::new(RATE_HZ, SPEECH_HZ, Convention::Slaney));
static DCT: Dct<20, 20> = Dct::new();
static FIR: Fir<63> = Fir::low_pass(RATE_HZ, 1000.0);

/// Low, high, band pass and notch at 1200 Hz with a quality of 2.
const BIQUADS: [Biquad; 4] = [
    Biquad::low_pass(RATE_HZ, 1200.0, 2.0),
    Biquad::high_pass(RATE_HZ, 1200.0, 2.0),
    Biquad::band_pass(RATE_HZ, 1200.0, 2.0),
    Biquad::notch(RATE_HZ, 1200.0, 2.0),
];
const BUTTERWORTH_LOW: [Biquad; 3] = Biquad::butterworth_low_pass(RATE_HZ, 900.0);
/// Cutoffs as shares of the rate.
const CUTOFFS: [f64; 7] = [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.49];
const BUTTERWORTH_HIGH: [Biquad; 2] = Biquad::butterworth_high_pass(RATE_HZ, 300.0);

/// The model has no weights of its own.
pub struct EveryBlock;

dunlin_guest::model! {
    EveryBlock;
    state: none;
    max_batch: 1;
    inputs {
        /// What the signal blocks take.
        signal: f32[N];
        /// What the others take.
        x: f32[20];
        dense_weights: f32[8, 20];
        dense_bias: f32[8];
        conv_x: f32[3, 40];
        conv_weights: f32[12, 3, 5];
        conv_bias: f32[12];
        /// Median and interquartile range, least and greatest.
        scales: f32[2, 20];
        centres: f32[5, 20];
        /// Feature (-1 for a leaf), threshold, left, right, and the leaf's two values.
        nodes: f32[64, 6];
        /// Of the forest's trees.
        roots: f32[3];
    }
    outputs {
        frames: f32[7, 256];
        weights: f32[3, N];
        windowed: f32[N];
        spectrum: f32[2, 513];
        spectrum_of_32: f32[2, 17];
        power_of_512: f32[257];
        bands: f32[4];
        mel: f32[2, 40];
        levels: f32[40];
        mfcc: f32[13];
        dct: f32[20];
        biquads: f32[4, N];
        butterworth: f32[2, N];
        /// Of order 4 at each of the cutoffs: low pass, high pass.
        cutoffs: f32[14, N];
        fir: f32[N];
        /// Window, FIR, low and high pass of the signal as Q15 at half of its size, in steps.
        fixed: f32[4, N];
        moments: f32[4];
        /// Of the signal as counts of a converter with 24 bits, near the end of its range.
        moments_of_counts: f32[4];
        rms_and_extremes: f32[3];
        quantiles: f32[5];
        median_and_iqr: f32[2];
        recent: f32[2];
        running: f32[5];
        p2: f32[1];
        scaled: f32[3, 20];
        /// Average, limit, and the shift as -1, 0, 1.
        ewma: f32[N, 3];
        /// Both sums, and the shift as -1, 0, 1.
        cusum: f32[N, 3];
        dense: f32[8];
        conv: f32[12, 36];
        conv_by_3: f32[12, 12];
        activations: f32[3, 20];
        squared_distances: f32[5];
        nearest: f32[2];
        forest: f32[2, 2];
    }
}

impl EveryBlock {
    /// Runs every block on the inputs.
    ///
    /// # Errors
    /// None: blocks take any number.
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        spectra(inputs.signal, &mut *outputs.windowed, outputs.spectrum, outputs.bands);
        *outputs.weights = [HANN, HAMMING, BLACKMAN];
        let (mut sliding, mut frames) = (Sliding::<256, 128>::new(), outputs.frames.iter_mut());
        for window in inputs.signal.iter().filter_map(|x| sliding.push(*x)) {
            if let Some(frame) = frames.next() {
                *frame = window;
            }
        }
        if let Some((frame, _)) = inputs.signal.split_first_chunk::<512>() {
            *outputs.power_of_512 = HALF_FFT.power(frame);
            *outputs.mel = [HTK.energies(outputs.power_of_512), SLANEY.energies(outputs.power_of_512)];
            (*outputs.levels, *outputs.mfcc) = (MFCC.levels(frame), MFCC.coefficients(frame));
        }
        if let Some((frame, _)) = inputs.signal.split_first_chunk::<32>() {
            *outputs.spectrum_of_32 = SMALL_FFT.spectrum(frame);
        }
        *outputs.dct = DCT.transform(inputs.x);
        filters(inputs.signal, outputs.biquads, outputs.butterworth, outputs.fir);
        low_to_high(inputs.signal, outputs.cutoffs);
        in_fixed_point(inputs.signal, outputs.fixed);

        *outputs.moments = moments(inputs.signal);
        *outputs.moments_of_counts = moments(&inputs.signal.map(|x| (8.0 * x) as i32 as f32 + 8_000_000.0));
        let [least, greatest] = stats::extremes(inputs.signal);
        *outputs.rms_and_extremes = [stats::rms(inputs.signal), least, greatest];
        *outputs.quantiles = [0.0, 0.05, 0.5, 0.77, 1.0].map(|q| stats::quantile(&mut { *inputs.signal }, q));
        *outputs.median_and_iqr = stats::median_and_iqr(&mut { *inputs.signal });
        let (mut recent, mut running, mut p2) = (Recent::<100>::new(), Running::new(), P2::new(0.9));
        for x in inputs.signal {
            recent.push(*x);
            running.push(*x);
            p2.push(*x);
        }
        *outputs.recent = [stats::mean(recent.samples()), recent.quantile(0.9)];
        let [least, greatest] = running.extremes();
        *outputs.running = [running.mean(), running.variance(), running.sample_variance(), least, greatest];
        *outputs.p2 = [p2.quantile()];
        charts(inputs.signal, outputs.ewma, outputs.cusum);

        let [centre, spread] = *inputs.scales;
        let scalers = [
            Scaler::standard(centre, spread),
            Scaler::robust(centre, spread),
            Scaler::limits(centre, spread),
        ];
        for (scaled, scaler) in outputs.scaled.iter_mut().zip(scalers) {
            *scaled = *inputs.x;
            scaler.apply(scaled);
        }
        let dense = Dense { weights: *inputs.dense_weights, bias: *inputs.dense_bias };
        *outputs.dense = dense.apply(inputs.x);
        let (weights, bias) = (*inputs.conv_weights, *inputs.conv_bias);
        *outputs.conv = Conv1d::<3, 12, 5, 1>::new(weights, bias).apply(inputs.conv_x);
        *outputs.conv_by_3 = Conv1d::<3, 12, 5, 3>::new(weights, bias).apply(inputs.conv_x);
        let [rectified, _, shares] = outputs.activations;
        (*rectified, *shares) = (*inputs.x, *inputs.x);
        relu(rectified);
        softmax(shares);
        outputs.activations[1] = inputs.x.map(sigmoid);

        let centroids = Centroids { centres: *inputs.centres };
        *outputs.squared_distances = centroids.squared_distances(inputs.x);
        let nearest = centroids.nearest(inputs.x);
        *outputs.nearest = [nearest.index as f32, nearest.distance];
        let forest =
            Forest::<20, 3, 64, 2>::new(inputs.roots.map(|root| root as u16), inputs.nodes.map(node));
        *outputs.forest = [forest.sum(inputs.x), forest.mean(inputs.x)];
        Ok(())
    }
}

fn spectra(signal: &[f32; N], windowed: &mut [f32; N], spectrum: &mut [[f32; 513]; 2], bands: &mut [f32; 4]) {
    *windowed = *signal;
    window::apply(windowed, &HANN);
    *spectrum = FFT.spectrum(signal);
    *bands = BANDS.energies(&FFT.power(signal));
}

fn filters(
    signal: &[f32; N],
    biquads: &mut [[f32; N]; 4],
    butterworth: &mut [[f32; N]; 2],
    fir: &mut [f32; N],
) {
    for (filtered, biquad) in biquads.iter_mut().zip(BIQUADS) {
        *filtered = *signal;
        Cascade::<1>::new([biquad]).run(filtered);
    }
    let [low, high] = butterworth;
    *low = *signal;
    Cascade::<3>::new(BUTTERWORTH_LOW).run(low);
    // The signal in all four channels; the last one is taken.
    let mut four = Cascade::<2, F32x4>::new(BUTTERWORTH_HIGH);
    for (filtered, x) in high.iter_mut().zip(signal) {
        let [_, _, _, last] = four.step(F32x4::splat(*x)).to_array();
        *filtered = last;
    }
    *fir = *signal;
    FIR.clone().run(fir);
}

fn low_to_high(signal: &[f32; N], cutoffs: &mut [[f32; N]; 14]) {
    let (pairs, _) = cutoffs.as_chunks_mut::<2>();
    for (share, [low, high]) in CUTOFFS.into_iter().zip(pairs) {
        *low = *signal;
        Cascade::<2>::new(Biquad::butterworth_low_pass(1.0, share)).run(low);
        *high = *signal;
        Cascade::<2>::new(Biquad::butterworth_high_pass(1.0, share)).run(high);
    }
}

fn in_fixed_point(signal: &[f32; N], outputs: &mut [[f32; N]; 4]) {
    let samples = fixed::quantise(signal.map(|x| 0.5 * x));
    let (mut windowed, mut fir) =
        (samples, FirQ15::new(fixed::quantise(Fir::<63>::low_pass_taps(RATE_HZ, 1000.0))));
    fixed::apply(&mut windowed, &fixed::quantise(HANN));
    let (mut low, mut high) = (CascadeQ15::new(BUTTERWORTH_LOW), CascadeQ15::new(BUTTERWORTH_HIGH));
    let filtered =
        [windowed, samples.map(|x| fir.step(x)), samples.map(|x| low.step(x)), samples.map(|x| high.step(x))];
    *outputs = filtered.map(|samples| samples.map(f32::from));
}

fn moments(samples: &[f32; N]) -> [f32; 4] {
    let Moments { mean, variance, skewness, kurtosis } = Moments::of(samples);
    [mean, variance, skewness, kurtosis]
}

fn charts(signal: &[f32; N], ewma: &mut [[f32; 3]; N], cusum: &mut [[f32; 3]; N]) {
    let mut average = Ewma::new(0.0, 0.5, 0.2, 3.0);
    let mut sums = Cusum::new(0.0, 0.5, 0.5, 4.0);
    let number = |shift| match shift {
        Shift::Down => -1.0,
        Shift::None => 0.0,
        Shift::Up => 1.0,
    };
    for ((x, ewma), cusum) in signal.iter().zip(ewma).zip(cusum) {
        let shift = number(average.push(*x));
        *ewma = [average.value(), average.limit(), shift];
        let shift = number(sums.push(*x));
        let [up, down] = sums.sums();
        *cusum = [up, down, shift];
    }
}

fn node([feature, threshold, left, right, first, second]: [f32; 6]) -> Node<2> {
    if feature < 0.0 {
        Node::Leaf([first, second])
    } else {
        Node::Split { feature: feature as u16, threshold, left: left as u16, right: right as u16 }
    }
}
