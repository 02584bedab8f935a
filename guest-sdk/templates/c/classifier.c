/*
 * Which state a machine is in, told by the nearest of three centres.
 *
 * With c[k] the centre of class k and s the spread of each feature:
 *
 *     d[k] = sum(((x[i] - c[k][i]) / s[i])^2)     how far the features are from the centre
 *     p[k] = (1 / d[k]) / sum(1 / d[j])           the membership of fuzzy c-means with m = 2 (Bezdek, 1981)
 *     class = the k with the greatest p
 *
 * Centres and spreads are what you learn from data of your own; these are of no machine in particular.
 * Status 1: a feature is NaN, infinite or too large to square.
 */
#include "dunlin.h"

#define MAX_BATCH 16
#define FEATURES 3
#define CLASSES 3

enum { NOT_FINITE = 1 };

static const float centres[CLASSES][FEATURES] = {{1.0f, 1.5f, 30.0f}, {4.0f, 3.0f, 45.0f}, {8.0f, 1.5f, 40.0f}};
static const float spreads[FEATURES] = {1.0f, 0.5f, 5.0f};
/* No distance is less, so that a sample at the centre divides by no zero. */
static const float least = 1e-6f;

static DUNLIN_REGION float features[MAX_BATCH][FEATURES];
static DUNLIN_REGION float probability[MAX_BATCH][CLASSES];
static DUNLIN_REGION uint8_t class[MAX_BATCH];

DUNLIN_CARD({
    "abi": 1,
    "inputs": [
        {"name": "features", "dtype": "f32", "shape": ["n", FEATURES], "labels": ["rms", "crest", "temperature"]}
    ],
    "outputs": [
        {"name": "probability", "dtype": "f32", "shape": ["n", CLASSES], "range": [0.0, 1.0],
         "labels": ["quiet", "worn", "loose"], "meaning": "probability"},
        {"name": "class", "dtype": "u8", "shape": ["n"],
         "labels": ["quiet", "worn", "loose"], "meaning": "label"}
    ],
    "max_batch": MAX_BATCH,
    "simd": "deterministic",
    "stack_bytes": 16384,
    "producer": "my-model 0.1.0"
});
DUNLIN_INPUTS(features);
DUNLIN_OUTPUTS(probability, class);

int32_t dunlin_infer(uint32_t n) {
    DUNLIN_ASSERT(n <= MAX_BATCH);
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < CLASSES; k++) {
            float distance = 0;
            for (int f = 0; f < FEATURES; f++) {
                float x = (features[i][f] - centres[k][f]) / spreads[f];
                distance += x * x;
            }
            if (!__builtin_isfinite(distance)) {
                return NOT_FINITE;
            }
            probability[i][k] = 1 / (distance > least ? distance : least);
            sum += probability[i][k];
        }
        class[i] = 0;
        for (uint8_t k = 0; k < CLASSES; k++) {
            probability[i][k] /= sum;
            if (probability[i][k] > probability[i][class[i]]) {
                class[i] = k;
            }
        }
    }
    return DUNLIN_OK;
}
