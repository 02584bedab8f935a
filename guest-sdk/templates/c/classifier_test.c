/* Tests of model.c, natively: `clang -std=c11 -I vendor -o test test.c && ./test`. */
#include <assert.h>
#include <stdio.h>

#include "model.c"

static void put(int i, float rms, float crest, float temperature) {
    features[i][0] = rms, features[i][1] = crest, features[i][2] = temperature;
}

int main(void) {
    /* A sample at a centre is of its class. */
    for (int k = 0; k < CLASSES; k++) {
        put(k, centres[k][0], centres[k][1], centres[k][2]);
    }
    assert(dunlin_infer(CLASSES) == DUNLIN_OK);
    for (int k = 0; k < CLASSES; k++) {
        assert(class[k] == k && probability[k][k] > 0.999f);
    }
    /* Probabilities are the inverse of distances: 1, 16 + 9 + 9 and 64 + 4 in spreads. */
    put(0, 0.0f, 1.5f, 30.0f);
    assert(dunlin_infer(1) == DUNLIN_OK);
    float sum = 1 / 1.0f + 1 / 34.0f + 1 / 68.0f;
    assert(probability[0][0] == 1 / sum && probability[0][1] == 1 / 34.0f / sum);
    /* What is no number is refused. */
    put(0, 1.0f, __builtin_nanf(""), 30.0f);
    assert(dunlin_infer(1) == NOT_FINITE);
    put(0, 3e38f, 1.5f, 30.0f);
    assert(dunlin_infer(1) == NOT_FINITE);
    puts("all tests passed");
    return 0;
}
