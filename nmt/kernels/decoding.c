/* What a step of search on a CPU does in many small operations, in one pass each.
 *
 * Every row is computed by itself, in the same order wherever it stands, so that results do not depend on the batch.
 * Sums are float, totals double.
 */
#include "search.h"

enum { BLOCK = 4 * LANES };

/* The maximum of each block of a row, and of the row. */
static inline float maxima_of(const void *row, long size, int half, float *maxima) {
    float highest = -INFINITY;
    for (long first = 0, block = 0; first < size; first += BLOCK, block++) {
        float found = -INFINITY;
        if (first + BLOCK <= size) {
            floats one = larger(load(row, first, half), load(row, first + LANES, half));
            floats two = larger(load(row, first + 2 * LANES, half), load(row, first + 3 * LANES, half));
            found = largest(larger(one, two));
        } else {
            for (long place = first; place < size; place++) {
                float value = load_one(row, place, half);
                found = value > found ? value : found;
            }
        }
        maxima[block] = found;
        highest = found > highest ? found : highest;
    }
    return highest;
}

/* log sum_i e^x_i */
static inline double log_sum_exp(const void *row, long size, int half, float highest) {
    double total = 0;
    long place = 0;
    while (place + LANES <= size) {
        long end = place + 64 * LANES < size ? place + 64 * LANES : size;
        floats some = {0};
        for (; place + LANES <= end; place += LANES) some += exponential(load(row, place, half) - highest);
        total += sum(some);
    }
    for (; place < size; place++) total += exp(load_one(row, place, half) - highest);
    return highest + log(total);
}

/* The best extensions of one sentence; see `nmt_best_extensions`. logits: of its rows; maxima: room for those of the blocks. */
static void extend_best(const char *logits, int half, int normalised, const double *scores, long beam, long size, long count,
                        int must_end, long pad, long begin, long end, float *maxima, double *best, int64_t *from, int64_t *said) {
    for (long rank = 0; rank < count; rank++) best[rank] = -INFINITY, from[rank] = 0, said[rank] = 0;
    for (long hypothesis = 0; hypothesis < beam; hypothesis++) {
        double score = scores[hypothesis];
        if (score == -INFINITY) continue;
        const char *row = logits + hypothesis * size * (half ? 2 : 4);
        float highest = half ? maxima_of(row, size, 1, maxima) : maxima_of(row, size, 0, maxima);
        if (highest == -INFINITY) continue;
        if (!normalised)
            score -= half ? log_sum_exp(row, size, 1, highest) : log_sum_exp(row, size, 0, highest);
        for (long first = 0, block = 0; first < size; first += BLOCK, block++) {
            if (!(score + maxima[block] > best[count - 1])) continue;
            long last = first + BLOCK < size ? first + BLOCK : size;
            for (long token = first; token < last; token++) {
                double value = score + load_one(row, token, half);
                if (!(value > best[count - 1]) || token == pad || token == begin) continue;
                if (must_end && token != end) continue;
                long rank = count - 1;
                for (; rank > 0 && value > best[rank - 1]; rank--)
                    best[rank] = best[rank - 1], from[rank] = from[rank - 1], said[rank] = said[rank - 1];
                best[rank] = value, from[rank] = hypothesis, said[rank] = token;
            }
        }
    }
}

/* The `count` best extensions of each sentence, best first: values, hypotheses and tokens (sentences, count).
 *
 * scores: (sentences, beam) log-probabilities so far; logits: (sentences * beam, size), or log-probabilities if
 * `normalised`. `pad` and `begin` are never said; where `ending` (sentences) is not 0, `end` alone is. Of equal ones the
 * first counts. What is missing has the value -inf. Returns 0, or 1 if there is no memory.
 */
int nmt_best_extensions(const void *logits, int half, int normalised, const double *scores, long sentences, long beam, long size,
                        long count, const uint8_t *ending, long pad, long begin, long end, int threads, double *values,
                        int64_t *origins, int64_t *tokens) {
    long blocks = size / BLOCK + 1;
    float *maxima = malloc(sizeof(float) * threads * blocks);
    if (!maxima) return 1;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long sentence = part; sentence < sentences; sentence += threads)
            extend_best((const char *)logits + sentence * beam * size * (half ? 2 : 4), half, normalised, scores + sentence * beam, beam,
                        size, count, ending && ending[sentence], pad, begin, end, maxima + part * blocks, values + sentence * count,
                        origins + sentence * count, tokens + sentence * count);
    free(maxima);
    return 0;
}

/* e^(x - highest) of so many scores, in place, in room for whole LANES; returns 1 over their sum. */
static inline float exponentials(float *scores, long length) {
    float highest = -INFINITY;
    for (long i = 0; i < length; i++) highest = scores[i] > highest ? scores[i] : highest;
    for (long i = length; i % LANES; i++) scores[i] = -INFINITY;
    floats total = {0};
    for (long i = 0; i < length; i += LANES) {
        floats power = exponential(load(scores, i, 0) - highest);
        store(scores, i, power, 0);
        total += power;
    }
    return 1 / sum(total);
}

/* The scores of one sentence's positions for one query, e_j = -2 v . 1 / (1 + q k_j), and softmax(e) V. */
static inline void attend_additively(const char *query, const char *keys, const float *combine, const char *values, long length,
                                     long width, long depth, int half, float *room, void *weights, void *context) {
    float *scores = room + width;
    for (long i = 0; i < width; i += LANES) store(room, i, load(query, i, half), 0);
    for (long position = 0; position < length; position++) {
        floats total = {0};
        for (long i = 0; i < width; i += LANES)
            total += load(combine, i, 0) / (load(room, i, 0) * load(keys, position * width + i, half) + 1.0f);
        scores[position] = -2 * sum(total);
    }
    float share = exponentials(scores, length);
    for (long position = 0; position < length; position++) store_one(weights, position, scores[position] * share, half);
    for (long i = 0; i < depth; i += LANES) {
        floats mixed = {0};
        for (long position = 0; position < length; position++)
            mixed += scores[position] * load(values, position * depth + i, half);
        store(context, i, mixed * share, half);
    }
}

/* Additive attention of each row to the source of its sentence: scores v . tanh(q + k), but for a constant.
 *
 * queries: (sentences * beam, width) and keys: (sentences, longest, width), both as e^2q; combine: v (width), float;
 * values: (sentences, longest, depth); mask: (sentences, longest) real positions, which come first.
 * weights: (sentences * beam, longest), 0 at padding; context: (sentences * beam, depth). Returns 0, or 1 if there is no memory.
 */
int nmt_attend_additive(const char *queries, const char *keys, const float *combine, const char *values, const uint8_t *mask,
                        long sentences, long beam, long longest, long width, long depth, int half, char *weights,
                        char *context) {
    long bytes = half ? 2 : 4;
    float *room = malloc(sizeof(float) * (width + longest + LANES));
    if (!room) return 1;
    memset(weights, 0, sentences * beam * longest * bytes);
    for (long sentence = 0; sentence < sentences; sentence++) {
        const char *key = keys + sentence * longest * width * bytes, *value = values + sentence * longest * depth * bytes;
        long length = 0;
        while (length < longest && mask[sentence * longest + length]) length++;
        for (long row = sentence * beam; row < (sentence + 1) * beam; row++) {
            const char *query = queries + row * width * bytes;
            char *own = weights + row * longest * bytes, *out = context + row * depth * bytes;
            if (half)
                attend_additively(query, key, combine, value, length, width, depth, 1, room, own, out);
            else
                attend_additively(query, key, combine, value, length, width, depth, 0, room, own, out);
        }
    }
    free(room);
    return 0;
}
