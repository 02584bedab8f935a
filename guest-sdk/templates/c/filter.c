/*
 * A low-pass filter of second order: what is above 5 Hz goes, from a signal with 100 samples a second.
 *
 * Direct form II transposed, for each sample:
 *
 *     y  = b0 x + z1
 *     z1 = b1 x - a1 y + z2
 *     z2 = b2 x - a2 y
 *
 * The coefficients are the low-pass of R. Bristow-Johnson's Audio EQ Cookbook for f0/Fs = 5/100 and
 * Q = 1/sqrt(2), over a0: w = 2 pi f0/Fs, alpha = sin w / (2 Q), a0 = 1 + alpha, b0 = b2 = (1 - cos w) / 2,
 * b1 = 1 - cos w, a1 = -2 cos w, a2 = 1 - alpha.
 *
 * Status 1: a sample is NaN or infinite, or too large; the filter goes on as if the frame had not come.
 */
#include "dunlin.h"

#define FRAME 32

enum { NOT_FINITE = 1 };

static const float b[3] = {0.020083366f, 0.04016673f, 0.020083366f};
static const float a[2] = {-1.5610181f, 0.64135154f};

/* What the filter remembers. */
static float z[2];

static DUNLIN_REGION float raw[FRAME];
static DUNLIN_REGION float smooth[FRAME];

DUNLIN_CARD({
    "abi": 1,
    "inputs": [{"name": "raw", "dtype": "f32", "shape": [FRAME], "unit": "m/s^2", "range": [-160.0, 160.0]}],
    "outputs": [{"name": "smooth", "dtype": "f32", "shape": [FRAME], "unit": "m/s^2", "meaning": "value"}],
    "max_batch": 1,
    "state": "stream",
    "simd": "deterministic",
    "stack_bytes": 16384,
    "producer": "my-model 0.1.0"
});
DUNLIN_INPUTS(raw);
DUNLIN_OUTPUTS(smooth);

void dunlin_reset(void) {
    z[0] = z[1] = 0;
}

int32_t dunlin_infer(uint32_t n) {
    (void)n; /* a stream has one sample a call */
    float z1 = z[0], z2 = z[1];
    for (int i = 0; i < FRAME; i++) {
        float x = raw[i], y = b[0] * x + z1;
        z1 = b[1] * x - a[0] * y + z2;
        z2 = b[2] * x - a[1] * y;
        smooth[i] = y;
    }
    /* What is once no number stays none. */
    if (!__builtin_isfinite(z1) || !__builtin_isfinite(z2)) {
        return NOT_FINITE;
    }
    z[0] = z1, z[1] = z2;
    return DUNLIN_OK;
}
