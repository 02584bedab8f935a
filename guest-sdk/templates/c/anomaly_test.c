/* Tests of model.c, natively: `clang -std=c11 -I vendor -o test test.c && ./test`. */
#include <assert.h>
#include <stdio.h>

#include "model.c"

/* A signal that swings around `middle`; mean distance 0.8, so that the spread is 1. */
static int32_t swing(float middle) {
    for (int i = 0; i < FRAME; i++) {
        level[i] = i % 2 == 0 ? middle + 0.8f : middle - 0.8f;
    }
    return dunlin_infer(1);
}

int main(void) {
    /* A signal that stays is quiet. */
    for (int frame = 0; frame < 10; frame++) {
        assert(swing(20) == DUNLIN_OK && score < 0.1f && alarm == 0);
    }
    /* A step of 1 spread is seen within a frame. */
    assert(swing(21) == DUNLIN_OK && score == 2 && alarm == 1);
    /* A hole is refused, and nothing is forgotten. */
    dunlin_reset();
    assert(swing(20) == DUNLIN_OK && alarm == 0);
    level[63] = __builtin_nanf("");
    assert(dunlin_infer(1) == NOT_FINITE);
    assert(swing(19) == DUNLIN_OK && alarm == 1);
    /* After a reset, what is normal is learned anew. */
    dunlin_reset();
    level[3] = __builtin_inff();
    assert(dunlin_infer(1) == NOT_FINITE);
    assert(swing(100) == DUNLIN_OK && alarm == 0);
    puts("all tests passed");
    return 0;
}
