/* One step of a Transformer's decoder: all layers, for the newest position of each row, in one call.
 *
 * Rows are hypotheses; those of a sentence stand together. What a step has projected stays where it was computed: a row knows by
 * numbers which rows of earlier steps are its past. Threads share the rows. A row is computed by itself, in the same order wherever
 * it stands and whoever computes it.
 */
#include "products.h"

/* R rows, T positions so far (this one counted), D width, H heads, K width of a head, S source positions, F feed-forward */

enum { NO_NORM = 0, LAYER_NORM = 1, RMS_NORM = 2 };
typedef struct {
    int32_t kind;
    float epsilon;
    const float *weight, *bias; /* (D) */
} norm;

typedef struct {
    matrix projection, self_output, query, cross_output, inner, outer;
    norm self_norm, cross_norm, feed_norm;
} decoder_layer;

typedef struct {
    long width, heads, feed_forward, layers;
    int32_t pre, residual, gelu, rotary, alibi;
    float self_scale, cross_scale, embedding_scale;
    const float *table; /* (V, D) embeddings */
    norm last;
    const decoder_layer *layer;
} decoder;

/* The sources of a batch. */
typedef struct {
    long longest, padded;         /* positions, and the next multiple of LANES */
    const int64_t *lengths;       /* (sentences) positions that count */
    const float *const *keys;     /* of each layer (sentences, H, K, padded) */
    const float *const *values;   /* of each layer (sentences, S, 2 D), of which the second half of a position are its values */
} sources;

static void normalise(const norm *by, const float *from, long width, float *to) {
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
    uint8_t *bytes;
    const float **keys;
} workroom;

static void apply(const matrix *by, const float *from, long rows, float *to, workroom *room) {
    if (!takes_floats(by)) prepare(by, from, 0, rows, room->prepared, room->own, room->bytes);
    multiply_all(by, takes_floats(by) ? (const void *)from : room->prepared, room->own, rows, 0, by->outputs, 0, to);
}

/* x becomes x + update, or update alone, and is normalised by post-norm. */
static void add_update(const decoder *model, const norm *by, float *states, const float *update, long rows) {
    for (long i = 0; i < rows * model->width; i += LANES)
        store(states, i, model->residual ? load(states, i, 0) + load(update, i, 0) : load(update, i, 0), 0);
    for (long row = 0; !model->pre && row < rows; row++)
        normalise(by, states + row * model->width, model->width, states + row * model->width);
}

static const float *before(const decoder *model, const norm *by, const float *states, long rows, float *normed) {
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

/* Attention of a row's newest position to its past. keys: of each position the place of its keys, D before its values. */
static void attend_to_past(const decoder *model, const float *query, const float *const *keys, long length, float *weights,
                           float *out) {
    long width = model->width, size = width / model->heads;
    for (long head = 0; head < model->heads; head++) {
        const float *own = query + head * size;
        for (long t = 0; t < length; t += 4) {
            const float *some[4];
            for (long k = 0; k < 4; k++) some[k] = keys[t + k < length ? t + k : length - 1] + head * size;
            floats one = {0}, two = {0}, three = {0}, four = {0};
            for (long i = 0; i < size; i += LANES) {
                floats part = load(own, i, 0);
                one += part * load(some[0], i, 0), two += part * load(some[1], i, 0);
                three += part * load(some[2], i, 0), four += part * load(some[3], i, 0);
            }
            floats4 found = sums(one, two, three, four) * model->self_scale;
            memcpy(weights + t, &found, sizeof found);
        }
        float slope = model->alibi ? exp2f(-8.0f * (head + 1) / model->heads) : 0;
        for (long t = 0; model->alibi && t < length; t++) weights[t] -= slope * (length - 1 - t);
        float share = powers(weights, length);
        mix(weights, keys, width + head * size, length, size, share, out + head * size);
    }
}

/* Attention of a row to the source of its sentence. */
static void attend_to_source(const decoder *model, const sources *all_sources, long layer, long sentence, const float *query,
                             float *weights, const float **places, float *out) {
    long width = model->width, size = width / model->heads, padded = all_sources->padded;
    long length = all_sources->lengths[sentence];
    const float *values = all_sources->values[layer] + sentence * all_sources->longest * 2 * width;
    for (long t = 0; t < length; t++) places[t] = values + t * 2 * width;
    for (long head = 0; head < model->heads; head++) {
        const float *own = query + head * size;
        const float *keys = all_sources->keys[layer] + (sentence * model->heads + head) * size * padded;
        for (long t = 0; t < length; t += LANES) {
            floats one = {0}, two = {0}, three = {0}, four = {0};
            for (long i = 0; i < size; i += 4) {
                one += own[i] * load(keys, i * padded + t, 0), two += own[i + 1] * load(keys, (i + 1) * padded + t, 0);
                three += own[i + 2] * load(keys, (i + 2) * padded + t, 0), four += own[i + 3] * load(keys, (i + 3) * padded + t, 0);
            }
            store(weights, t, ((one + two) + (three + four)) * model->cross_scale, 0);
        }
        float share = powers(weights, length);
        mix(weights, places, width + head * size, length, size, share, out + head * size);
    }
}

/* Turns the pairs (i, i + K/2) of each head by their angles; turns: cosines (K/2), then sines. */
static void rotate(const decoder *model, const float *turns, float *states) {
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

static void activate(const decoder *model, float *states, long count) {
    for (long i = 0; model->gelu && i < count; i++) states[i] = 0.5f * states[i] * (1 + erff(states[i] * 0.70710678f));
}

/* The rows `first` to `first + rows`; see `nmt_transformer_step`. */
static void step_rows(const decoder *model, const sources *source, const int64_t *owners, long beam, const int64_t *tokens,
                      const float *added, const float *turns, float *const *steps, const int64_t *row_counts, const int32_t *past,
                      long length, long first, long rows, workroom *room, float *out) {
    long width = model->width, newest = row_counts[length - 1];
    for (long row = 0; row < rows; row++) {
        const float *word = model->table + tokens[first + row] * width;
        for (long i = 0; i < width; i += LANES) {
            floats value = load(word, i, 0) * model->embedding_scale;
            store(room->states, row * width + i, added ? value + load(added, i, 0) : value, 0);
        }
    }
    for (long number = 0; number < model->layers; number++) {
        const decoder_layer *layer = model->layer + number;
        apply(&layer->projection, before(model, &layer->self_norm, room->states, rows, room->normed), rows, room->wide, room);
        for (long row = 0; row < rows; row++) {
            float *query = room->wide + row * 3 * width, *kept = steps[length - 1] + (number * newest + first + row) * 2 * width;
            if (model->rotary) rotate(model, turns, query), rotate(model, turns, query + width);
            memcpy(kept, query + width, sizeof(float) * 2 * width);
            const int32_t *own = past + (first + row) * length;
            for (long t = 0; t < length; t++) room->keys[t] = steps[t] + (number * row_counts[t] + own[t]) * 2 * width;
            attend_to_past(model, query, room->keys, length, room->weights, room->context + row * width);
        }
        apply(&layer->self_output, room->context, rows, room->wide, room);
        add_update(model, &layer->self_norm, room->states, room->wide, rows);
        apply(&layer->query, before(model, &layer->cross_norm, room->states, rows, room->normed), rows, room->wide, room);
        for (long row = 0; row < rows; row++)
            attend_to_source(model, source, number, owners[(first + row) / beam], room->wide + row * width, room->weights, room->keys,
                             room->context + row * width);
        apply(&layer->cross_output, room->context, rows, room->wide, room);
        add_update(model, &layer->cross_norm, room->states, room->wide, rows);
        apply(&layer->inner, before(model, &layer->feed_norm, room->states, rows, room->normed), rows, room->wide, room);
        activate(model, room->wide, rows * model->feed_forward);
        apply(&layer->outer, room->wide, rows, room->context, room);
        add_update(model, &layer->feed_norm, room->states, room->context, rows);
    }
    for (long row = 0; row < rows; row++) normalise(&model->last, room->states + row * width, width, out + (first + row) * width);
}

/* Numbers (float) of room for so many rows of one thread, positions of the past and of the source. */
static long room_of(const decoder *model, long rows, long longest) {
    long width = model->width, wide = 3 * width > model->feed_forward ? 3 * width : model->feed_forward;
    long padded = (longest + LANES - 1) / LANES * LANES + LANES;
    return rows * (3 * width + wide) + padded + rows * (wide + 4) + rows + wide + 2 * padded + 64;
}

long nmt_transformer_room(const decoder *model, long rows, long longest, long threads) {
    return threads * room_of(model, (rows + threads - 1) / threads, longest);
}

static void furnish(const decoder *model, long rows, long longest, float *from, workroom *room) {
    long width = model->width, wide = 3 * width > model->feed_forward ? 3 * width : model->feed_forward;
    long padded = (longest + LANES - 1) / LANES * LANES + LANES;
    room->states = from, from += rows * width;
    room->normed = from, from += rows * width;
    room->context = from, from += rows * width;
    room->wide = from, from += rows * wide;
    room->weights = from, from += padded;
    room->prepared = from, from += rows * (wide + 4);
    room->own = from, from += rows;
    room->bytes = (uint8_t *)from, from += wide;
    room->keys = (const float **)(((uintptr_t)from + 15) / 16 * 16);
}

/* Hidden states (rows, D), ready for the output layer, after the last token of each row.
 *
 * owners: (rows / beam) which of the sources is a sentence's; tokens: (rows); added: (D) what this position adds to embeddings, or
 * NULL; turns: see `rotate`; steps: of each position the keys and values (layers, rows of that step, 2 D), the newest to be filled;
 * row_counts: (T) rows of each step; earlier: (rows before, T - 1) which row of each step was a row's own, and origins: (rows) which
 * row each one goes on from; past: (rows, T), to be filled with theirs; room: see `nmt_transformer_room`.
 */
void nmt_transformer_step(const decoder *model, const sources *source, const int64_t *owners, long beam, const int64_t *tokens,
                          const float *added, const float *turns, float *const *steps, const int64_t *row_counts, const int32_t *earlier,
                          const int64_t *origins, int32_t *past, long length, long rows, int threads, float *room, float *out) {
    for (long row = 0; row < rows; row++) {
        if (length > 1) memcpy(past + row * length, earlier + origins[row] * (length - 1), sizeof *past * (length - 1));
        past[row * length + length - 1] = row;
    }
    long share = (rows + threads - 1) / threads, longest = length > source->longest ? length : source->longest;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        long first = part * share, count = rows - first < share ? rows - first : share;
        workroom own;
        furnish(model, share, longest, room + part * room_of(model, share, longest), &own);
        if (count > 0)
            step_rows(model, source, owners, beam, tokens, added, turns, steps, row_counts, past, length, first, count, &own, out);
    }
}
