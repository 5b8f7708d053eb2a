/* What the layers of a Transformer are made of, for a few rows at a time: norms, products, residuals, attention of one row.
 *
 * A row is computed by itself, in the same order wherever it stands and whoever computes it.
 */
#pragma once
#include "products.h"

/* R rows, T target positions so far (this one counted), S source positions, D width, H heads, K width of a head, F feed-forward */

enum { NO_NORM = 0, LAYER_NORM = 1, RMS_NORM = 2 };
typedef struct {
    int32_t kind;
    float epsilon;
    const float *weight, *bias; /* (D) */
} norm;

typedef struct {
    matrix projection, self_output, query, memory, cross_output, inner, outer; /* an encoder's has no `query` to `cross_output` */
    norm self_norm, cross_norm, feed_norm;
} layer;

typedef struct {
    long width, heads, feed_forward, layers;
    int32_t pre, residual, gelu, rotary, alibi;
    float self_scale, cross_scale, embedding_scale;
    const float *table; /* (V, D) embeddings */
    norm last;
    const layer *layer;
} stack;

static inline void normalise(const norm *by, const float *from, long width, float *to) {
    if (by->kind == NO_NORM) {
        if (to != from) memcpy(to, from, sizeof(float) * width);
        return;
    }
    floats total = {0};
    float mean = 0;
    if (by->kind == LAYER_NORM) {
        for (long i = 0; i < width; i += LANES) total += load(from, i, 0);
        mean = sum(total) / width;
    }
    floats square = {0};
    for (long i = 0; i < width; i += LANES) {
        floats apart = load(from, i, 0) - mean;
        square += apart * apart;
    }
    float scale = 1 / sqrtf(sum(square) / width + by->epsilon);
    for (long i = 0; i < width; i += LANES) {
        floats value = (load(from, i, 0) - mean) * scale * load(by->weight, i, 0);
        store(to, i, by->kind == LAYER_NORM ? value + load(by->bias, i, 0) : value, 0);
    }
}

/* What the threads need besides: room for some rows. */
typedef struct {
    float *states, *normed, *wide, *context; /* (rows, D), (rows, D), (rows, max(3 D, F)), (rows, D) */
    float *weights;                          /* of one attention, whole LANES */
    float *prepared, *own;
    const float **places; /* of positions */
} workroom;

static inline void apply(const matrix *by, const float *from, long rows, float *to, workroom *room) {
    if (!takes_floats(by)) prepare(by, from, 0, rows, room->prepared, room->own);
    multiply_all(by, takes_floats(by) ? (const void *)from : room->prepared, room->own, rows, 0, by->outputs, 0, to);
}

/* x becomes x + update, or update alone, and is normalised by post-norm. */
static inline void add_update(const stack *model, const norm *by, float *states, const float *update, long rows) {
    for (long i = 0; i < rows * model->width; i += LANES)
        store(states, i, model->residual ? load(states, i, 0) + load(update, i, 0) : load(update, i, 0), 0);
    for (long row = 0; !model->pre && row < rows; row++)
        normalise(by, states + row * model->width, model->width, states + row * model->width);
}

static inline const float *before(const stack *model, const norm *by, const float *states, long rows, float *normed) {
    if (!model->pre) return states;
    for (long row = 0; row < rows; row++) normalise(by, states + row * model->width, model->width, normed + row * model->width);
    return normed;
}

/* e^(score - highest) of `length` scores, zero in the rest of the last LANES; returns 1 over their sum. */
static inline float powers(float *scores, long length) {
    for (long i = length; i % LANES; i++) scores[i] = -INFINITY;
    floats high = load(scores, 0, 0);
    for (long i = LANES; i < length; i += LANES) high = larger(high, load(scores, i, 0));
    float highest = largest(high);
    floats total = {0};
    for (long i = 0; i < length; i += LANES) {
        floats score = load(scores, i, 0), power = exponential(score - highest);
        ints there = score > all(-INFINITY);
        power = (floats)((ints)power & there);
        store(scores, i, power, 0);
        total += power;
    }
    return 1 / sum(total);
}

/* out (blocks * LANES) = share * sum_t weights[t] * values of position t; so many sums are in registers at a time. */
INLINE void mix_blocks(long blocks, const float *weights, const float *const *values, long shift, long length, float share, float *out) {
    floats even[4], odd[4];
#pragma GCC unroll 4
    for (long b = 0; b < blocks; b++) even[b] = odd[b] = all(0);
    long t = 0;
    for (; t + 2 <= length; t += 2)
#pragma GCC unroll 4
        for (long b = 0; b < blocks; b++) {
            even[b] += weights[t] * load(values[t], shift + b * LANES, 0);
            odd[b] += weights[t + 1] * load(values[t + 1], shift + b * LANES, 0);
        }
#pragma GCC unroll 4
    for (long b = 0; b < blocks; b++) {
        if (t < length) even[b] += weights[t] * load(values[t], shift + b * LANES, 0);
        store(out, b * LANES, (even[b] + odd[b]) * share, 0);
    }
}

static inline void mix(const float *weights, const float *const *values, long shift, long length, long size, float share, float *out) {
    long i = 0;
    for (; i + 4 * LANES <= size; i += 4 * LANES) mix_blocks(4, weights, values, shift + i, length, share, out + i);
    for (; i + 2 * LANES <= size; i += 2 * LANES) mix_blocks(2, weights, values, shift + i, length, share, out + i);
    for (; i < size; i += LANES) mix_blocks(1, weights, values, shift + i, length, share, out + i);
}

/* Takes from the scores of a head what the distance of their positions costs (ALiBi). */
static inline void keep_near(const stack *model, long head, long here, long length, float *scores) {
    float slope = exp2f(-8.0f * (head + 1) / model->heads);
    for (long t = 0; t < length; t++) scores[t] -= slope * labs(here - t);
}

/* Attention of a row to the positions of a sentence, whose keys lie across: (H, K, padded). values: of each position the place of
 * its values (D). here: the row's own position, where its distance from the others costs (ALiBi); else -1. */
static inline void attend_over(const stack *model, const float *query, const float *keys, long padded, const float *const *values,
                        long length, long here, float scale, float *weights, float *out) {
    long size = model->width / model->heads;
    for (long head = 0; head < model->heads; head++, keys += size * padded) {
        const float *own = query + head * size;
        for (long t = 0; t < length; t += LANES) {
            floats one = {0}, two = {0}, three = {0}, four = {0};
            for (long i = 0; i < size; i += 4) {
                one += own[i] * load(keys, i * padded + t, 0), two += own[i + 1] * load(keys, (i + 1) * padded + t, 0);
                three += own[i + 2] * load(keys, (i + 2) * padded + t, 0), four += own[i + 3] * load(keys, (i + 3) * padded + t, 0);
            }
            store(weights, t, ((one + two) + (three + four)) * scale, 0);
        }
        if (here >= 0) keep_near(model, head, here, length, weights);
        mix(weights, values, head * size, length, size, powers(weights, length), out + head * size);
    }
}

/* Turns the pairs (i, i + K/2) of each head by their angles; turns: cosines (K/2), then sines. */
static inline void rotate(const stack *model, const float *turns, float *states) {
    long size = model->width / model->heads, half = size / 2;
    for (long head = 0; head < model->heads; head++) {
        float *left = states + head * size, *right = left + half;
        for (long i = 0; i < half; i++) {
            float one = left[i], two = right[i];
            left[i] = one * turns[i] - two * turns[half + i];
            right[i] = two * turns[i] + one * turns[half + i];
        }
    }
}

static inline void activate(const stack *model, float *states, long count) {
    for (long i = 0; model->gelu && i < count; i++) states[i] = 0.5f * states[i] * (1 + erff(states[i] * 0.70710678f));
}

/* Words of some rows as the first layer reads them; added: (D) what a position adds, or NULL. */
static inline void embed(const stack *model, int64_t token, const float *added, float *to) {
    const float *word = model->table + token * model->width;
    for (long i = 0; i < model->width; i += LANES) {
        floats value = load(word, i, 0) * model->embedding_scale;
        store(to, i, added ? value + load(added, i, 0) : value, 0);
    }
}

/* The feed-forward network of some rows. */
static inline void feed_forward(const stack *model, const layer *one, long rows, workroom *room) {
    apply(&one->inner, before(model, &one->feed_norm, room->states, rows, room->normed), rows, room->wide, room);
    activate(model, room->wide, rows * model->feed_forward);
    apply(&one->outer, room->wide, rows, room->context, room);
    add_update(model, &one->feed_norm, room->states, room->context, rows);
}

static inline long widest(const stack *model) { return 3 * model->width > model->feed_forward ? 3 * model->width : model->feed_forward; }
static inline long whole_lanes(long count) { return (count + LANES - 1) / LANES * LANES; }

/* Numbers (float) of room for so many rows of one thread, so many positions. */
static inline long room_of(const stack *model, long rows, long longest) {
    long wide = widest(model), padded = whole_lanes(longest) + LANES;
    return rows * (3 * model->width + wide) + padded + rows * (wide + 4) + rows + 2 * padded + 64;
}

static inline float *furnish(const stack *model, long rows, long longest, float *from, workroom *room) {
    long width = model->width, wide = widest(model), padded = whole_lanes(longest) + LANES;
    room->states = from, from += rows * width;
    room->normed = from, from += rows * width;
    room->context = from, from += rows * width;
    room->wide = from, from += rows * wide;
    room->weights = from, from += padded;
    room->prepared = from, from += rows * (wide + 4);
    room->own = from, from += rows;
    room->places = (const float **)(((uintptr_t)from + 15) / 16 * 16);
    return (float *)(room->places + padded);
}
