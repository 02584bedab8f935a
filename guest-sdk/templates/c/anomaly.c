/*
 * Whether a signal has left the level that it began with: a two-sided CUSUM (Page, 1954).
 *
 * The first 32 samples after a reset are taken for normal. With their mean m and s = 1.25 times their mean
 * distance from it (the standard deviation, where they are normally distributed), for each later sample:
 *
 *     z    = (x - m) / s
 *     high = max(0, high + z - 0.5)      grows where the signal stays above the mean
 *     low  = max(0, low - z - 0.5)       likewise below
 *     score = the greatest high or low of the frame, over 8; the alarm is on from 1
 *
 * Status 1: a sample is NaN or infinite, or too large; what was learned stays.
 */
#include "dunlin.h"

#define FRAME 64

enum { NOT_FINITE = 1, LEARN = 32 /* samples that are taken for normal */ };

/* The drift that is let pass, in standard deviations. */
static const float slack = 0.5f;
/* The sum at which the alarm is on, in standard deviations. */
static const float limit = 8.0f;
/* The sums grow no further: a long alarm must not take as long to end. */
static const float most = 16.0f;
/* A signal that does not move at first is taken to move by this much. */
static const float least_spread = 1e-6f;

/* What is known of the signal. */
struct state {
    uint8_t learned;
    float mean, spread, high, low;
};
static struct state now;

static DUNLIN_REGION float level[FRAME];
static DUNLIN_REGION float score;
static DUNLIN_REGION uint8_t alarm;

DUNLIN_CARD({
    "abi": 1,
    "inputs": [{"name": "level", "dtype": "f32", "shape": [FRAME]}],
    "outputs": [
        {"name": "score", "dtype": "f32", "shape": [], "range": [0.0, 2.0], "meaning": "score"},
        {"name": "alarm", "dtype": "bool", "shape": []}
    ],
    "max_batch": 1,
    "state": "stream",
    "simd": "deterministic",
    "stack_bytes": 16384,
    "producer": "my-model 0.1.0"
});
DUNLIN_INPUTS(level);
DUNLIN_OUTPUTS(&score, &alarm);

static float clamp(float value, float low, float high) {
    return value < low ? low : value > high ? high : value;
}

/* Mean and standard deviation of the first samples. */
static void learn(struct state *state) {
    float sum = 0, distances = 0;
    for (int i = 0; i < LEARN; i++) {
        sum += level[i];
    }
    state->mean = sum / LEARN;
    for (int i = 0; i < LEARN; i++) {
        distances += __builtin_fabsf(level[i] - state->mean);
    }
    state->spread = 1.25f * distances / LEARN;
    if (state->spread < least_spread) {
        state->spread = least_spread;
    }
    state->learned = 1;
}

void dunlin_reset(void) {
    struct state new = {0, 0, 0, 0, 0};
    now = new;
}

int32_t dunlin_infer(uint32_t n) {
    (void)n; /* a stream has one sample a call */
    struct state next = now;
    int first = 0;
    if (!next.learned) {
        learn(&next);
        first = LEARN;
    }
    float greatest = 0;
    for (int i = first; i < FRAME; i++) {
        float z = (level[i] - next.mean) / next.spread;
        if (!__builtin_isfinite(z)) {
            return NOT_FINITE;
        }
        next.high = clamp(next.high + z - slack, 0, most);
        next.low = clamp(next.low - z - slack, 0, most);
        greatest = next.high > greatest ? next.high : greatest;
        greatest = next.low > greatest ? next.low : greatest;
    }
    now = next;
    score = greatest / limit;
    alarm = greatest >= limit;
    return DUNLIN_OK;
}
