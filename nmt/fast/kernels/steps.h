/* What the steps of search share: products of some rows, and attention of one row to the source of its sentence.
 *
 * Widths of scores and values are multiples of LANES. Every row is computed by itself, in the same order wherever it stands.
 */
#pragma once
#include "products.h"

/* Room that is handed out piece by piece. From address 0 on it is only measured. */
static inline void *take(uintptr_t *place, long count, long size) {
    uintptr_t here = *place;
    *place += (uintptr_t)(count * size + 63) / 64 * 64;
    return (void *)here;
}

/* What a product needs besides: room for states as its weights want them. */
typedef struct {
    float *prepared, *own;
} scratch;

static inline scratch take_scratch(uintptr_t *place, long rows, long inputs) {
    scratch made;
    made.prepared = take(place, rows * (inputs + 4), sizeof(float));
    made.own = take(place, rows, sizeof(float));
    return made;
}

/* to (rows, outputs) = from (rows, inputs) W + b */
static __attribute__((noinline)) void product(const matrix *by, const float *from, long rows, float *to, const scratch *space) {
    int as_they_are = takes_floats(by);
    if (!as_they_are) prepare(by, from, 0, rows, space->prepared, space->own);
    multiply_all(by, as_they_are ? (const void *)from : space->prepared, space->own, rows, 0, by->outputs, 0, to);
}

/* Which of the rows before some rows go on from, each once: `from`; `place`: which of these is a row's. Returns how many they are. */
static inline long distinct(const int64_t *origins, long rows, long beam, int64_t *from, int64_t *place) {
    long count = 0;
    for (long row = 0; row < rows; row++) {
        long found = count - 1; /* those of a sentence stand together */
        while (found >= 0 && found >= count - beam && from[found] != origins[row]) found--;
        if (found < 0 || from[found] != origins[row]) from[found = count++] = origins[row];
        place[row] = found;
    }
    return count;
}

/* Scores v . tanh(q + k) but for a constant: -2 v . 1 / (1 + e^2q e^2k). query: e^2q; keys: (length, width) e^2k. */
static inline void additive_scores(const float *query, const float *keys, const float *combine, long length, long width, float *scores) {
    for (long t = 0; t < length; t++) {
        floats total = {0};
        for (long i = 0; i < width; i += LANES)
            total += load(combine, i, 0) / (load(query, i, 0) * load(keys, t * width + i, 0) + 1.0f);
        scores[t] = -2 * sum(total);
    }
}

/* Scores scale * q . k of keys that stand so far apart; there is room for four scores more. */
static inline void product_scores(const float *query, const float *keys, long apart, long length, long width, float scale, float *scores) {
    for (long t = 0; t < length; t += 4) {
        const float *some[4];
        for (long k = 0; k < 4; k++) some[k] = keys + (t + k < length ? t + k : length - 1) * apart;
        floats one = {0}, two = {0}, three = {0}, four = {0};
        for (long i = 0; i < width; i += LANES) {
            floats part = load(query, i, 0);
            one += part * load(some[0], i, 0), two += part * load(some[1], i, 0);
            three += part * load(some[2], i, 0), four += part * load(some[3], i, 0);
        }
        floats4 found = sums(one, two, three, four) * scale;
        memcpy(scores + t, &found, sizeof found);
    }
}

/* softmax of scores, in place, in room for whole LANES. */
static inline void soft_weights(float *scores, long length) {
    float highest = -INFINITY;
    for (long t = 0; t < length; t++) highest = scores[t] > highest ? scores[t] : highest;
    for (long t = length; t % LANES; t++) scores[t] = -INFINITY;
    floats total = {0};
    for (long t = 0; t < length; t += LANES) {
        floats score = load(scores, t, 0), power = exponential(score - highest);
        power = (floats)((ints)power & (ints)(score > all(-INFINITY)));
        store(scores, t, power, 0);
        total += power;
    }
    float share = 1 / sum(total);
    for (long t = 0; t < length; t += LANES) store(scores, t, load(scores, t, 0) * share, 0);
}

/* So many registers of a mean at a time. */
INLINE void blend_blocks(long blocks, const float *weights, const float *values, long apart, long length, float *out) {
    floats total[4];
#pragma GCC unroll 4
    for (long b = 0; b < blocks; b++) total[b] = all(0);
    for (long t = 0; t < length; t++)
#pragma GCC unroll 4
        for (long b = 0; b < blocks; b++) total[b] += weights[t] * load(values, t * apart + b * LANES, 0);
#pragma GCC unroll 4
    for (long b = 0; b < blocks; b++) store(out, b * LANES, total[b], 0);
}

/* out (width) = sum_t weights[t] * values[t], of values that stand so far apart. */
static inline void blend(const float *weights, const float *values, long apart, long length, long width, float *out) {
    long i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES) blend_blocks(4, weights, values + i, apart, length, out + i);
    for (; i < width; i += LANES) blend_blocks(1, weights, values + i, apart, length, out + i);
}
