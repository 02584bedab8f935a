/*
 * An alarm on the vibration of a machine: the model of examples/threshold, in C.
 *
 * With x a window of 64 samples of acceleration less its mean (gravity is no vibration):
 *
 *     rms   = sqrt(sum(x[i]^2) / 64)                      how strong the vibration is
 *     peak  = max(|x[i]|)                                 the hardest knock
 *     crest = peak / rms, 0 where rms is 0                1 for a square wave, 1.41 for a sine
 *     alarm = max(ramp(rms, 4, 12), ramp(crest, 4, 8))    ramp(v, a, b) = (v - a) / (b - a), within 0..1
 *
 * Its answers are those of the Rust model bit for bit: the sums run in the same order, and every operation
 * is rounded as IEEE 754 says. Status 1: a sample is NaN, infinite or too large to square.
 */
#include "dunlin.h"

#define MAX_BATCH 16
#define WINDOW 64
#define STACK_BYTES 16384 /* as the linker is told by -z stack-size */
#define ARENA_BYTES 4352  /* 16 * 64 * 4 of the input, 4 * 16 * 4 of the outputs */

enum { NOT_FINITE = 1 };

static DUNLIN_REGION float acceleration[MAX_BATCH][WINDOW];
static DUNLIN_REGION float rms[MAX_BATCH];
static DUNLIN_REGION float peak[MAX_BATCH];
static DUNLIN_REGION float crest[MAX_BATCH];
static DUNLIN_REGION float alarm[MAX_BATCH];

DUNLIN_CARD({
    "abi": 1,
    "inputs": [
        {"name": "acceleration", "dtype": "f32", "shape": ["n", WINDOW], "unit": "m/s^2", "range": [-160.0, 160.0]}
    ],
    "outputs": [
        {"name": "rms", "dtype": "f32", "shape": ["n"], "unit": "m/s^2", "meaning": "value"},
        {"name": "peak", "dtype": "f32", "shape": ["n"], "unit": "m/s^2", "meaning": "value"},
        {"name": "crest", "dtype": "f32", "shape": ["n"], "meaning": "value"},
        {"name": "alarm", "dtype": "f32", "shape": ["n"], "range": [0.0, 1.0], "meaning": "score"}
    ],
    "max_batch": MAX_BATCH,
    "state": "none",
    "simd": "deterministic",
    "stack_bytes": STACK_BYTES,
    "arena_bytes": ARENA_BYTES,
    "producer": "c-threshold 0.1.0"
});

_Static_assert(sizeof acceleration + sizeof rms + sizeof peak + sizeof crest + sizeof alarm == ARENA_BYTES,
               "the card says how many bytes the tensors take");

DUNLIN_INPUTS(acceleration);
DUNLIN_OUTPUTS(rms, peak, crest, alarm);

/* 0 up to `begin`, 1 from `full`, a straight line between. */
static float ramp(float value, float begin, float full) {
    float ramp = (value - begin) / (full - begin);
    return ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
}

static float max(float a, float b) { return a > b ? a : b; }

int32_t dunlin_infer(uint32_t n) {
    DUNLIN_ASSERT(n <= MAX_BATCH);
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0, squares = 0, greatest = 0;
        for (int k = 0; k < WINDOW; k++) {
            sum += acceleration[i][k];
        }
        float mean = sum / WINDOW;
        for (int k = 0; k < WINDOW; k++) {
            float x = acceleration[i][k] - mean;
            squares += x * x;
            greatest = max(greatest, __builtin_fabsf(x));
        }
        rms[i] = __builtin_sqrtf(squares / WINDOW);
        peak[i] = greatest;
        if (!__builtin_isfinite(rms[i])) {
            return NOT_FINITE;
        }
        crest[i] = rms[i] > 0 ? peak[i] / rms[i] : 0;
        alarm[i] = max(ramp(rms[i], 4, 12), ramp(crest[i], 4, 8));
    }
    return DUNLIN_OK;
}
