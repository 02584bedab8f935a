//! The blocks for hand-written models give the same bits natively, in WebAssembly, and in WebAssembly with SIMD.
//!
//! `guest-sdk/blocks/examples/every_block.rs` runs all of them. It is built for wasm32 twice and called in the
//! sandbox that devices use, and it is a module of this test, called as plain Rust.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use dunlin_abi::Simd;
use dunlin_core::VerifiedArtifact;
use dunlin_guest::rt::Plain;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance, admit, inspect};

#[allow(unreachable_pub, reason = "a crate of its own, but for this test")]
#[path = "../guest-sdk/blocks/examples/every_block.rs"]
mod every_block;

#[allow(dead_code, unreachable_pub, reason = "shared with other tests, each of which uses a part of it")]
mod toolchain;

use every_block::{EveryBlock, Inputs, Outputs};

/// Builds the guest with these flags, in a folder of their own; nothing where the target is missing.
fn build(flags: &str, output: &str) -> Option<Vec<u8>> {
    let arguments = ["-p", "dunlin-blocks", "--example", "every_block"];
    let modules = toolchain::build_guest(".", &arguments, output, Some(flags))?;
    Some(std::fs::read(modules.join("examples/every_block.wasm")).unwrap())
}

/// Numbers from a seed (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From -2 up to 2; one in `holes` is no number, an infinity, a subnormal number or one near the largest.
    fn float(&mut self, holes: Option<u64>) -> f32 {
        const BROKEN: [f32; 6] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -0.0, 3e38];
        let number = (self.next() >> 40) as f32 / 4_194_304.0 - 2.0;
        match holes {
            Some(holes) if self.next().is_multiple_of(holes) => BROKEN[(self.next() % 6) as usize],
            _ => number,
        }
    }
}

/// The elements of a tensor, in order.
trait Elements {
    fn each(&mut self, visit: &mut dyn FnMut(&mut f32));

    fn to_vec(&mut self) -> Vec<f32> {
        let mut elements = Vec::new();
        self.each(&mut |element| elements.push(*element));
        elements
    }
}

impl Elements for f32 {
    fn each(&mut self, visit: &mut dyn FnMut(&mut f32)) {
        visit(self);
    }
}

impl<T: Elements, const N: usize> Elements for [T; N] {
    fn each(&mut self, visit: &mut dyn FnMut(&mut f32)) {
        self.iter_mut().for_each(|element| element.each(visit));
    }
}

fn filled<T: Elements + Plain>(values: &[f32]) -> T {
    let (mut tensor, mut values) = (T::ZERO, values.iter());
    tensor.each(&mut |element| *element = *values.next().unwrap());
    tensor
}

/// Calls the guest as plain Rust: inputs in the card's order in, outputs by name out.
macro_rules! natively {
    ($values:expr, inputs [$($input:ident),*], outputs [$($output:ident),*]) => {{
        let mut values = $values.iter();
        $(let mut $output = Plain::ZERO;)*
        let inputs = Inputs { $($input: &filled(values.next().unwrap())),* };
        EveryBlock.infer(inputs, Outputs { $($output: &mut $output),* }).unwrap();
        vec![$((stringify!($output), $output.to_vec())),*]
    }};
}

/// Inputs in the card's order. The forest is a valid one: three small trees.
fn inputs(seed: u64, holes: Option<u64>) -> Vec<Vec<f32>> {
    let mut noise = Noise(seed);
    let lengths = [1024, 20, 160, 8, 120, 180, 12, 40, 100];
    let mut inputs: Vec<Vec<f32>> =
        lengths.iter().map(|length| (0..*length).map(|_| noise.float(holes)).collect()).collect();
    let nodes = (0..64u16).flat_map(|place| {
        let [first, second] = [noise.float(None), noise.float(None)];
        // Trees begin at 0, 1 and 2; the nodes after place 3n + 5 are leaves.
        let feature = if place < 30 { f32::from(place % 20) } else { -1.0 };
        [feature, first / 2.0, f32::from(place + 3), f32::from(2 * place + 4), first, second]
    });
    inputs.push(nodes.collect());
    inputs.push(vec![0.0, 1.0, 2.0]);
    inputs
}

fn native(values: &[Vec<f32>]) -> Vec<(&'static str, Vec<f32>)> {
    natively!(
        values,
        inputs[
            signal, x, dense_weights, dense_bias, conv_x, conv_weights, conv_bias, scales, centres, nodes, roots
        ],
        outputs[
            frames, weights, windowed, spectrum, spectrum_of_32, power_of_512, bands, mel, levels, mfcc, dct,
            biquads, butterworth, cutoffs, fir, fixed, moments, moments_of_counts, rms_and_extremes, quantiles, median_and_iqr, recent, running, p2,
            scaled, ewma, cusum, dense, conv, conv_by_3, activations, squared_distances, nearest, forest
        ]
    )
}

fn sandboxed(instance: &mut Instance, values: &[Vec<f32>], outputs: usize) -> Vec<Vec<f32>> {
    for (index, values) in values.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        instance.input_mut(index).unwrap().copy_from_slice(&bytes);
    }
    instance.infer(1).unwrap();
    let read = |index| {
        let (floats, _) = instance.output(index, 1).unwrap().as_chunks();
        floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    (0..outputs).map(read).collect()
}

/// The bits, of which a NaN has none that count.
fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| if float.is_nan() { f32::NAN.to_bits() } else { float.to_bits() }).collect()
}

#[test]
fn every_block_gives_the_same_bits_natively_and_in_wasm_with_and_without_simd() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    for (flags, folder, simd) in
        [("", "guests-scalar", Simd::None), ("-Ctarget-feature=+simd128", "guests-simd", Simd::Deterministic)]
    {
        let Some(module) = build(flags, folder) else { return };
        let card = inspect(&module).unwrap().card;
        assert_eq!(card.simd, simd);
        let admitted = admit(VerifiedArtifact::trust_local(module), &Admission::default()).unwrap();
        let mut instance = engine.compile(admitted).unwrap().instantiate().unwrap();
        for seed in 0..50 {
            let holes = [None, Some(400), Some(20)][seed as usize % 3];
            let mut values = inputs(seed, holes);
            if seed % 5 == 4 {
                // Filters fade in silence.
                values[0][300..].fill(0.0);
            }
            let wanted = native(&values);
            let found = sandboxed(&mut instance, &values, wanted.len());
            for (((name, wanted), found), output) in wanted.iter().zip(&found).zip(&card.outputs) {
                assert_eq!(*name, output.name);
                assert_eq!(bits(found), bits(wanted), "{name}, seed {seed}, {simd:?}");
            }
            assert_eq!(wanted.len(), card.outputs.len());
        }
    }
}
