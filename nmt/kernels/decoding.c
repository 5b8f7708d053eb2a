/* What a step of search on a CPU does in many small operations, in one pass each.
 *
 * Every row is computed by itself, in the same order wherever it stands, so that results do not depend on the batch.
 * Sums are float, totals double.
 */
#include "vectors.h"

enum { BLOCK = 64 };

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

/* The `count` best extensions of each sentence, best first: values, hypotheses and tokens (sentences, count).
 *
 * scores: (sentences, beam) log-probabilities so far; logits: (sentences * beam, size), or log-probabilities if
 * `normalised`. `pad` and `begin` are never said; where `ending` (sentences) is not 0, `end` alone is. Of equal ones the
 * first counts. What is missing has the value -inf. Returns 0, or 1 if there is no memory.
 */
int nmt_best_extensions(const void *logits, int half, int normalised, const double *scores, long sentences, long beam,
                        long size, long count, const uint8_t *ending, long pad, long begin, long end,
                        double *values, int64_t *origins, int64_t *tokens) {
    float *maxima = malloc(sizeof(float) * (size / BLOCK + 1));
    if (!maxima) return 1;
    for (long sentence = 0; sentence < sentences; sentence++) {
        double *best = values + sentence * count;
        int64_t *from = origins + sentence * count, *said = tokens + sentence * count;
        for (long rank = 0; rank < count; rank++) best[rank] = -INFINITY, from[rank] = 0, said[rank] = 0;
        for (long hypothesis = 0; hypothesis < beam; hypothesis++) {
            double score = scores[sentence * beam + hypothesis];
            if (score == -INFINITY) continue;
            const char *row = (const char *)logits + (sentence * beam + hypothesis) * size * (half ? 2 : 4);
            float highest = half ? maxima_of(row, size, 1, maxima) : maxima_of(row, size, 0, maxima);
            if (highest == -INFINITY) continue;
            if (!normalised)
                score -= half ? log_sum_exp(row, size, 1, highest) : log_sum_exp(row, size, 0, highest);
            int must_end = ending && ending[sentence];
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

/* softmax(q K^T) V of one query, head by head. The value of a position stands `width` numbers behind its key.
 *
 * weights: room for `heads` times `padded` numbers, a multiple of LANES that holds all positions.
 */
static inline void attend_from(const float *query, const char *const *keys, long length, long padded, long width,
                               long heads, int half, float *weights, void *out, long place) {
    long size = width / heads;
    for (long position = 0; position < length; position++) {
        for (long head = 0; head < heads; head++) {
            floats products = {0};
            for (long i = head * size; i < (head + 1) * size; i += LANES)
                products += load(query, i, 0) * load(keys[position], i, half);
            weights[head * padded + position] = sum(products);
        }
    }
    for (long head = 0; head < heads; head++) {
        float *own = weights + head * padded;
        float share = exponentials(own, length);
        for (long i = head * size; i < (head + 1) * size; i += LANES) {
            floats context = {0};
            for (long position = 0; position < length; position++)
                context += own[position] * load(keys[position], width + i, half);
            store(out, place + i, context * share, half);
        }
    }
}

/* The same of a query as it was projected. room: for `width` numbers, and `heads` times those of all positions in whole LANES. */
static void attend(const char *row, const char *const *keys, long length, long width, long heads, float scale, int half,
                   float *room, void *out, long place) {
    long padded = (length + LANES - 1) / LANES * LANES;
    for (long i = 0; i < width; i += LANES) store(room, i, load(row, i, half) * scale, 0);
    if (half)
        attend_from(room, keys, length, padded, width, heads, 1, room + width, out, place);
    else
        attend_from(room, keys, length, padded, width, heads, 0, room + width, out, place);
}

/* Self-attention of the newest position of each row to its past, which lies where it was computed.
 *
 * steps: of each position (rows of that step, 3 * width): query, key and value; past: (rows, length) which row of a step is
 * a row's own. out: (rows, width). Returns 0, or 1 if there is no memory.
 */
int nmt_attend_past(const char *const *steps, const int32_t *past, long rows, long length, long width, long heads,
                    float scale, int half, void *out) {
    long bytes = half ? 2 : 4, padded = (length + LANES - 1) / LANES * LANES;
    float *room = malloc(sizeof(float) * (width + heads * padded));
    const char **keys = malloc(sizeof(char *) * length);
    if (room && keys)
        for (long row = 0; row < rows; row++) {
            for (long position = 0; position < length; position++)
                keys[position] = steps[position] + (past[row * length + position] * 3 + 1) * width * bytes;
            const char *query = steps[length - 1] + row * 3 * width * bytes;
            attend(query, keys, length, width, heads, scale, half, room, out, row * width);
        }
    int failed = !room || !keys;
    free(room), free(keys);
    return failed;
}

/* Attention of each row to the source of its sentence.
 *
 * queries: (sentences * beam, width); memory: (.., longest, 2 * width) keys and values; owners: (sentences) which of the
 * memory is a sentence's; lengths: (..) real positions. out: (sentences * beam, width). Returns 0, or 1 if there is no memory.
 */
int nmt_attend_source(const char *queries, const char *memory, const int64_t *owners, const int64_t *lengths,
                      long sentences, long beam, long longest, long width, long heads, float scale, int half, void *out) {
    long bytes = half ? 2 : 4, padded = (longest + LANES - 1) / LANES * LANES;
    float *room = malloc(sizeof(float) * (width + heads * padded));
    const char **keys = malloc(sizeof(char *) * longest);
    if (room && keys)
        for (long sentence = 0; sentence < sentences; sentence++) {
            long length = lengths[owners[sentence]];
            for (long position = 0; position < length; position++)
                keys[position] = memory + (owners[sentence] * longest + position) * 2 * width * bytes;
            for (long row = sentence * beam; row < (sentence + 1) * beam; row++)
                attend(queries + row * width * bytes, keys, length, width, heads, scale, half, room, out, row * width);
        }
    int failed = !room || !keys;
    free(room), free(keys);
    return failed;
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

/* A row of numbers as integers and a scale: x = scale * (integer - zero), to the nearest. Returns the scale. */
static inline float quantise(const void *states, long first, long width, int zero, int half, uint8_t *integers) {
    long whole = width / LANES * LANES;
    floats extent = all(0);
    for (long i = 0; i < whole; i += LANES) {
        floats values = load(states, first + i, half);
        extent = larger(extent, larger(values, -values));
    }
    float highest = largest(extent);
    for (long i = whole; i < width; i++) highest = fmaxf(highest, fabsf(load_one(states, first + i, half)));
    highest = highest > 1e-10f ? highest : 1e-10f;
    float inverse = (255 - zero) / highest;
    for (long i = 0; i < whole; i += LANES) {
        ints nearest = (ints)(load(states, first + i, half) * inverse + 12582912.0f) - (0x4b400000 - zero);
        bytes found = __builtin_convertvector(nearest, bytes);
        memcpy(integers + i, &found, sizeof found);
    }
    for (long i = whole; i < width; i++)
        integers[i] = (uint8_t)(nearbyintf(load_one(states, first + i, half) * inverse) + zero);
    return highest / (255 - zero);
}

/* The same of rows (rows, width). `zero` is 128, or 0 for numbers of which none is negative. */
void nmt_quantise(const void *states, long rows, long width, int zero, int half, uint8_t *integers, float *scales) {
    for (long row = 0; row < rows; row++)
        scales[row] = half ? quantise(states, row * width, width, zero, 1, integers + row * width)
                           : quantise(states, row * width, width, zero, 0, integers + row * width);
}

/* Products of such integers as numbers: scale * product + bias, cut off at zero if `relu`; in place where `out` is `product`. */
void nmt_rescale(const float *product, const float *scales, const float *bias, long rows, long width, int relu, int half,
                 void *out) {
    for (long row = 0; row < rows; row++) {
        long first = row * width, i = 0;
        for (; i + LANES <= width; i += LANES) {
            floats values = load(product, first + i, 0) * scales[row] + load(bias, i, 0);
            store(out, first + i, relu ? larger(values, all(0)) : values, half);
        }
        for (; i < width; i++) {
            float value = product[first + i] * scales[row] + bias[i];
            store_one(out, first + i, relu && value < 0 ? 0 : value, half);
        }
    }
}

/* Products of rows with weights that lie in tiles of 32 outputs: up to eight rows at a time meet a tile in registers, which
 * takes no setting up, where few rows come. Each output is one sum over the inputs, in their order. A GROUP of outputs stays
 * in the cache while all rows pass. */
enum { TILE = 2 * LANES, GROUP = 16 * TILE, ROWS = 8 };
typedef struct { floats sums[ROWS][2]; } block;

/* One call for each count of rows, so that each has registers of its own. */
#define EACH_COUNT(multiply, count, ...) \
    switch (count) { \
        case 1: multiply(1, __VA_ARGS__); break; \
        case 2: multiply(2, __VA_ARGS__); break; \
        case 3: multiply(3, __VA_ARGS__); break; \
        case 4: multiply(4, __VA_ARGS__); break; \
        case 5: multiply(5, __VA_ARGS__); break; \
        case 6: multiply(6, __VA_ARGS__); break; \
        case 7: multiply(7, __VA_ARGS__); break; \
        default: multiply(8, __VA_ARGS__); \
    }

/* Writes what a block has found of 32 outputs, or of those that are left. */
static inline void store_block(const block *found, long rows, long outputs, long output, int relu, int half, void *out,
                               long first) {
    for (long part = 0; part < 2; part++) {
        long left = outputs - output - part * LANES;
        for (long row = 0; row < rows; row++) {
            floats values = relu ? larger(found->sums[row][part], all(0)) : found->sums[row][part];
            long place = (first + row) * outputs + output + part * LANES;
            if (left >= LANES)
                store(out, place, values, half);
            else
                for (long i = 0; i < left; i++) store_one(out, place + i, values[i], half);
        }
    }
}

#ifdef __AVX512F__
static inline __attribute__((always_inline)) void multiply_numbers(long count, const float *rows, long inputs,
                                                                   const float *tile, const float *bias, block *found) {
    floats left[ROWS], right[ROWS];
    for (long row = 0; row < count; row++) left[row] = right[row] = all(0);
    for (long i = 0; i < inputs; i++) {
        floats one = load(tile, i * TILE, 0), two = load(tile, i * TILE + LANES, 0);
#pragma GCC unroll 8
        for (long row = 0; row < count; row++) {
            float state = rows[row * inputs + i];
            left[row] += state * one;
            right[row] += state * two;
        }
    }
    for (long row = 0; row < count; row++) {
        found->sums[row][0] = left[row] + load(bias, 0, 0);
        found->sums[row][1] = right[row] + load(bias, LANES, 0);
    }
}

/* y = x W + b, cut off at zero if `relu`.
 *
 * states: (rows, inputs); weight: (outputs / 32, inputs, 32) and bias, with zeros where there are no more outputs;
 * out: (rows, outputs).
 */
void nmt_multiply(const float *states, long rows, long inputs, const float *weight, const float *bias, long outputs, int relu,
                  float *out) {
    for (long group = 0; group < outputs; group += GROUP)
        for (long first = 0; first < rows; first += ROWS)
            for (long output = group; output < outputs && output < group + GROUP; output += TILE) {
                const float *some = states + first * inputs, *tile = weight + output * inputs;
                long count = rows - first < ROWS ? rows - first : ROWS;
                block found;
                EACH_COUNT(multiply_numbers, count, some, inputs, tile, bias + output, &found)
                store_block(&found, count, outputs, output, relu, 0, out, first);
            }
}
#endif

#if defined(__AVX512VNNI__) && !defined(__AMX_INT8__) /* whose units do more at once */
#include <immintrin.h>

static inline __attribute__((always_inline)) void multiply_integers(long count, const uint8_t *rows, long inputs,
                                                                    const int8_t *tile, const int32_t *sums, int zero,
                                                                    block *found) {
    __m512i left[ROWS], right[ROWS];
    for (long row = 0; row < count; row++) left[row] = right[row] = _mm512_setzero_si512();
    for (long i = 0; i < inputs; i += 4) {
        __m512i one = _mm512_loadu_si512(tile + i * TILE), two = _mm512_loadu_si512(tile + i * TILE + 4 * LANES);
#pragma GCC unroll 8
        for (long row = 0; row < count; row++) {
            int32_t four;
            memcpy(&four, rows + row * inputs + i, sizeof four);
            __m512i states = _mm512_set1_epi32(four);
            left[row] = _mm512_dpbusd_epi32(left[row], states, one);
            right[row] = _mm512_dpbusd_epi32(right[row], states, two);
        }
    }
    ints all_weights[2];
    memcpy(all_weights, sums, sizeof all_weights);
    for (long row = 0; row < count; row++) {
        found->sums[row][0] = __builtin_convertvector((ints)left[row] - zero * all_weights[0], floats);
        found->sums[row][1] = __builtin_convertvector((ints)right[row] - zero * all_weights[1], floats);
    }
}

/* y = s_x s_w (x W) + b in integers, of rows that `quantise` makes.
 *
 * states: (rows, width); weight: (outputs / 32, inputs / 4, 32, 4), inputs being the next multiple of 4; of each output the
 * scale, sum and bias of its weights; zeros where there are no more outputs. out: (rows, outputs). Returns 0, or 1 if there is
 * no memory.
 */
int nmt_multiply_integers(const void *states, int half, long rows, long width, int zero, const int8_t *weight,
                          const float *scales, const int32_t *sums, const float *bias, long outputs, int relu, int half_out,
                          void *out) {
    long inputs = (width + 3) / 4 * 4;
    uint8_t *integers = calloc(rows, inputs);
    float *own = malloc(sizeof(float) * rows);
    if (integers && own)
        for (long row = 0; row < rows; row++)
            own[row] = half ? quantise(states, row * width, width, zero, 1, integers + row * inputs)
                            : quantise(states, row * width, width, zero, 0, integers + row * inputs);
    for (long group = 0; integers && own && group < outputs; group += GROUP)
        for (long first = 0; first < rows; first += ROWS)
            for (long output = group; output < outputs && output < group + GROUP; output += TILE) {
                const uint8_t *some = integers + first * inputs;
                const int8_t *tile = weight + output * inputs;
                long count = rows - first < ROWS ? rows - first : ROWS;
                block found;
                EACH_COUNT(multiply_integers, count, some, inputs, tile, sums + output, zero, &found)
                for (long row = 0; row < count; row++)
                    for (long part = 0; part < 2; part++) {
                        floats product = found.sums[row][part] * load(scales, output + part * LANES, 0);
                        found.sums[row][part] = product * own[first + row] + load(bias, output + part * LANES, 0);
                    }
                store_block(&found, count, outputs, output, relu, half_out, out, first);
            }
    int failed = !integers || !own;
    free(integers), free(own);
    return failed;
}
#endif
