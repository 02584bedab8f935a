/*
 * dunlin_q15.h: windows and filters of 16-bit samples, in C or C++.
 *
 * A sample is Q15: an int16_t that stands for itself over 32,768. Results outside of it are saturated: the nearest
 * int16_t is given. Products round to the nearest, halves up. The bits are those of the crate dunlin-blocks, module
 * `fixed`, natively and in WebAssembly. Nothing is allocated; every object may be a static one with an initialiser:
 *
 *     static dunlin_q15_section low_pass[2] = {
 *         DUNLIN_Q15_SECTION(0.04658291, 0.09316581, 0.04658291, -0.32897568, 0.06458765),
 *         DUNLIN_Q15_SECTION(1.0, 2.0, 1.0, -0.45311952, 0.46632557),
 *     };
 *     y = dunlin_q15_cascade(low_pass, 2, x);
 *
 * with b0, b1, b2, a1 and a2 of scipy.signal.butter(4, 200, fs=1000, output="sos"), where a0 is 1. A window or the taps of a FIR
 * are arrays of DUNLIN_Q15(number), for example from
 *
 *     python3 -c 'import scipy.signal as s; print(", ".join(f"DUNLIN_Q15({w})" for w in s.get_window("hann", 64)))'
 *
 * Errors beside the same in double precision: a window half a step, a FIR half a step and that of its quantised
 * taps, a cascade two steps, for cutoffs from 5e-4 of the rate and as long as nothing saturates.
 */
#ifndef DUNLIN_Q15_H
#define DUNLIN_Q15_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A number from -1 to 1 as Q15, rounded to the nearest and saturated: 1.0 becomes 32767. In a constant. */
#define DUNLIN_Q15(number)                                                                                 \
    ((int16_t)((number) >= 32767.0 / 32768 ? 32767                                                         \
               : (number) <= -1.0          ? -32768                                                        \
                                           : (number) * 32768 + ((number) < 0 ? -0.5 : 0.5)))

/* A number over 2^bits, rounded to the nearest and saturated. */
static inline int16_t dunlin_q15_round_(int64_t number, int bits) {
    int64_t rounded = (number + ((int64_t)1 << (bits - 1))) >> bits;
    return (int16_t)(rounded < -32768 ? -32768 : rounded > 32767 ? 32767 : rounded);
}

/* Multiplies each of n samples by its weight. */
static inline void dunlin_q15_window(int16_t *samples, const int16_t *weights, size_t n) {
    for (size_t i = 0; i < n; i++) {
        samples[i] = dunlin_q15_round_((int32_t)samples[i] * weights[i], 15);
    }
}

/* Takes the next sample into `history`, the last n of them with the newest first, and gives the sum of
 * taps[k] * history[k]. All zeros is at rest. */
static inline int16_t dunlin_q15_fir(int16_t *history, const int16_t *taps, size_t n, int16_t sample) {
    int64_t sum = 0;
    for (size_t k = n; k-- > 1;) {
        history[k] = history[k - 1];
        sum += (int32_t)taps[k] * history[k];
    }
    history[0] = sample;
    return dunlin_q15_round_(sum + (int32_t)taps[0] * sample, 15);
}

/* A second-order section: coefficients with 29 bits behind the point, and the state, 12 bits finer than samples,
 * with room for 16 times full scale. */
typedef struct dunlin_q15_section {
    int32_t b[3], a[2];
    int32_t x[2], y[2];
    int64_t rest;
} dunlin_q15_section;

#define DUNLIN_Q29_(number) ((int32_t)((number) * 536870912.0 + ((number) < 0 ? -0.5 : 0.5)))

/* A section at rest, from y = b0 x + b1 x' + b2 x'' - a1 y' - a2 y''. In a constant. The magnitudes of the five must
 * sum up to 7 at most, each be below 4, and 1 + a1 + a2 and 1 - a1 + a2 be 9.8e-6 at least: dunlin_q15_fits. */
#define DUNLIN_Q15_SECTION(b0, b1, b2, a1, a2)                                                             \
    {{DUNLIN_Q29_(b0), DUNLIN_Q29_(b1), DUNLIN_Q29_(b2)}, {DUNLIN_Q29_(a1), DUNLIN_Q29_(a2)}, {0, 0}, {0, 0}, 0}

/* Whether n sections can be computed in fixed point. Ask once, in dunlin_init, which can refuse the model:
 *
 *     int32_t dunlin_init(void) { return dunlin_q15_fits(low_pass, 2) ? DUNLIN_OK : 1; }
 *
 * No constant expression of C can tell, as the numbers have a fraction. */
static inline int dunlin_q15_fits(const dunlin_q15_section *sections, size_t n) {
    const int64_t one = (int64_t)1 << 29, least = 5261; /* 9.8e-6 */
    for (size_t k = 0; k < n; k++) {
        const dunlin_q15_section *s = &sections[k];
        const int64_t all[5] = {s->b[0], s->b[1], s->b[2], s->a[0], s->a[1]};
        int64_t sum = 0;
        for (int i = 0; i < 5; i++) {
            sum += all[i] < 0 ? -all[i] : all[i];
        }
        if (sum > 7 * one || one + s->a[0] + s->a[1] < least || one - s->a[0] + s->a[1] < least) {
            return 0;
        }
    }
    return 1;
}

static inline int32_t dunlin_q15_step_(dunlin_q15_section *s, int32_t x) {
    int64_t sum = (int64_t)s->b[0] * x + (int64_t)s->b[1] * s->x[0] + (int64_t)s->b[2] * s->x[1] -
                  (int64_t)s->a[0] * s->y[0] - (int64_t)s->a[1] * s->y[1] + s->rest;
    int64_t y = sum >> 29;
    /* What rounding leaves over is taken up by the next sum: errors do not add up at low frequencies. */
    s->rest = sum & (((int64_t)1 << 29) - 1);
    y = y < INT32_MIN ? INT32_MIN : y > INT32_MAX ? INT32_MAX : y;
    s->x[1] = s->x[0], s->x[0] = x;
    s->y[1] = s->y[0], s->y[0] = (int32_t)y;
    return (int32_t)y;
}

/* Takes the next sample through n sections and gives the filtered one. */
static inline int16_t dunlin_q15_cascade(dunlin_q15_section *sections, size_t n, int16_t sample) {
    int32_t x = (int32_t)sample * 4096;
    for (size_t k = 0; k < n; k++) {
        x = dunlin_q15_step_(&sections[k], x);
    }
    return dunlin_q15_round_(x, 12);
}

/* Back to rest. */
static inline void dunlin_q15_reset(dunlin_q15_section *sections, size_t n) {
    for (size_t k = 0; k < n; k++) {
        dunlin_q15_section *s = &sections[k];
        s->x[0] = s->x[1] = s->y[0] = s->y[1] = 0;
        s->rest = 0;
    }
}

#ifdef __cplusplus
}
#endif

#endif
