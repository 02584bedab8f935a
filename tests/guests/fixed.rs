//! `guest-sdk/c/dunlin_q15.h` gives the bits of `dunlin_blocks::fixed`.

use dunlin_blocks::filter::{Biquad, Fir};
use dunlin_blocks::fixed::{self, CascadeQ15, FirQ15};
use dunlin_blocks::window::{Symmetry, hann};

use crate::mistakes::{FLAGS, built};
use crate::sandbox::start;

const SAMPLES: usize = 64;

const LOW: [Biquad; 2] = Biquad::butterworth_low_pass(1000.0, 20.0);

/// A stream that gives each frame windowed, through a FIR, and through a cascade.
fn source() -> String {
    let list = |numbers: &[f32]| {
        numbers.iter().map(|number| format!("DUNLIN_Q15({number:?})")).collect::<Vec<_>>().join(", ")
    };
    let sections = LOW.map(|Biquad { b, a }| {
        let numbers = b.iter().chain(&a).map(|number| format!("{number:?}")).collect::<Vec<_>>().join(", ");
        format!("DUNLIN_Q15_SECTION({numbers})")
    });
    let low = sections.join(", ");
    format!(
        r#"
#include "dunlin.h"
#include "dunlin_q15.h"
static DUNLIN_REGION int16_t x[{SAMPLES}];
static DUNLIN_REGION int16_t y[3][{SAMPLES}];
DUNLIN_CARD({{
    "abi": 1, "max_batch": 1, "state": "stream", "stack_bytes": 16384, "producer": "test 1",
    "inputs": [{{"name": "x", "dtype": "i16", "shape": [{SAMPLES}]}}],
    "outputs": [{{"name": "y", "dtype": "i16", "shape": [3, {SAMPLES}]}}]
}});
DUNLIN_INPUTS(x);
DUNLIN_OUTPUTS(y);
static const int16_t window[{SAMPLES}] = {{{window}}};
static const int16_t taps[31] = {{{taps}}};
static int16_t history[31];
static dunlin_q15_section low[2] = {{{low}}};
static const dunlin_q15_section too_fine = DUNLIN_Q15_SECTION(1e-7, 2e-7, 1e-7, -1.999, 0.999004);
static const dunlin_q15_section too_large = DUNLIN_Q15_SECTION(3.0, 3.0, 1.0, -0.5, 0.1);
int32_t dunlin_init(void) {{
    if (dunlin_q15_fits(&too_fine, 1) || dunlin_q15_fits(&too_large, 1)) return 1;
    return dunlin_q15_fits(low, 2) ? DUNLIN_OK : 2;
}}
void dunlin_reset(void) {{
    dunlin_q15_reset(low, 2);
    for (int k = 0; k < 31; k++) history[k] = 0;
}}
int32_t dunlin_infer(uint32_t n) {{
    (void)n;
    for (int i = 0; i < {SAMPLES}; i++) {{
        y[0][i] = x[i];
        y[1][i] = dunlin_q15_fir(history, taps, 31, x[i]);
        y[2][i] = dunlin_q15_cascade(low, 2, x[i]);
    }}
    dunlin_q15_window(y[0], window, {SAMPLES});
    return DUNLIN_OK;
}}
"#,
        window = list(&hann::<SAMPLES>(Symmetry::Periodic)),
        taps = list(&Fir::<31>::low_pass_taps(1000.0, 100.0)),
    )
}

#[test]
fn fixed_point_in_c_has_the_bits_of_rust() {
    let Some(folder) = built(&source(), FLAGS) else { return };
    let mut running = start(&std::fs::read(folder.path().join("model.wasm")).unwrap(), &[]);
    let weights = fixed::quantise(hann::<SAMPLES>(Symmetry::Periodic));
    let mut fir = FirQ15::<31>::new(fixed::quantise(Fir::<31>::low_pass_taps(1000.0, 100.0)));
    let mut low = CascadeQ15::new(LOW);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for frame in 0..50 {
        // Noise at all strengths, the last at full scale.
        let mut windowed: [i16; SAMPLES] = std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 48) as i16) >> (15 - frame / 3).clamp(0, 15)
        });
        let samples = windowed;
        fixed::apply(&mut windowed, &weights);
        let expected = [windowed, samples.map(|x| fir.step(x)), samples.map(|x| low.step(x))];
        let bytes: Vec<u8> = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
        running.instance.input_mut(0).unwrap().copy_from_slice(&bytes);
        running.instance.infer(1).unwrap();
        let found = running.instance.output(0, 1).unwrap().as_chunks().0;
        let found: Vec<i16> = found.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
        assert_eq!(found, expected.as_flattened(), "frame {frame}");
    }
}
