/* Tests of model.c, natively: `clang -std=c11 -I vendor -o test test.c && ./test`. */
#include <assert.h>
#include <stdio.h>

#include "model.c"

static int32_t fill(float even, float odd) {
    for (int i = 0; i < FRAME; i++) {
        raw[i] = i % 2 == 0 ? even : odd;
    }
    return dunlin_infer(1);
}

int main(void) {
    /* A level passes. */
    for (int frame = 0; frame < 5; frame++) {
        assert(fill(9.81f, 9.81f) == DUNLIN_OK);
    }
    assert(__builtin_fabsf(smooth[31] - 9.81f) < 1e-4f);
    /* A flutter does not. */
    dunlin_reset();
    for (int frame = 0; frame < 5; frame++) {
        assert(fill(1, -1) == DUNLIN_OK);
    }
    assert(__builtin_fabsf(smooth[31]) < 1e-4f);
    /* A frame with a hole is as if it had not come. */
    dunlin_reset();
    assert(fill(1, 1) == DUNLIN_OK);
    float second[FRAME];
    assert(fill(1, 1) == DUNLIN_OK);
    for (int i = 0; i < FRAME; i++) {
        second[i] = smooth[i];
    }
    dunlin_reset();
    assert(fill(1, 1) == DUNLIN_OK);
    assert(fill(1, __builtin_nanf("")) == NOT_FINITE);
    assert(fill(1, 1) == DUNLIN_OK);
    for (int i = 0; i < FRAME; i++) {
        assert(smooth[i] == second[i]);
    }
    puts("all tests passed");
    return 0;
}
