/* Products of rows with matrices, in numbers and in integers: what the exported functions and the steps of search share.
 *
 * Weights lie in tiles of so many outputs, one input (or a few) after the other. Some rows at a time meet a tile in registers. Each
 * output is one sum over the inputs, in their order: a row's result does not depend on its batch, to the bit.
 */
#pragma once
#include "vectors.h"
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

/* PARTS registers are a tile. So many rows meet it at a time that their sums and what meets them fit into all registers. They are fewer
 * in integers, whose products need registers in between. */
#if defined(__AVX512F__)
enum { PARTS = 2, ROWS = 8, INTEGER_ROWS = 8 };
#elif defined(__aarch64__)
enum { PARTS = 4, ROWS = 6, INTEGER_ROWS = 6 };
#else
enum { PARTS = 2, ROWS = 6, INTEGER_ROWS = 5 };
#endif
enum { MOST_ROWS = 8, TILE = LANES * PARTS, CACHED = 1 << 18 }; /* bytes of weights that stay in the cache while all rows pass */
typedef struct { floats sums[MOST_ROWS][PARTS]; } block;

/* One call for each count of rows, so that each has registers of its own. */
#define FEWER(count, most) ((most) < (count) ? (most) : (count))
#define EACH_COUNT(multiply, count, most, ...) \
    switch (count) { \
        case 1: multiply(1, __VA_ARGS__); break; \
        case 2: multiply(2, __VA_ARGS__); break; \
        case 3: multiply(3, __VA_ARGS__); break; \
        case 4: multiply(FEWER(4, most), __VA_ARGS__); break; \
        case 5: multiply(FEWER(5, most), __VA_ARGS__); break; \
        case 6: multiply(FEWER(6, most), __VA_ARGS__); break; \
        case 7: multiply(FEWER(7, most), __VA_ARGS__); break; \
        default: multiply(most, __VA_ARGS__); \
    }

/* Writes what a block has found of a tile's outputs, or of those that are left. */
INLINE void store_block(const block *found, long rows, long outputs, long output, int relu, int half, void *out, long first) {
    long left = outputs - output < TILE ? outputs - output : TILE;
    for (long row = 0; row < rows; row++) {
        long place = (first + row) * outputs + output;
        float values[TILE];
        for (long part = 0; part < PARTS; part++) {
            floats value = relu ? larger(found->sums[row][part], all(0)) : found->sums[row][part];
            if (left == TILE)
                store(out, place + part * LANES, value, half);
            else
                store(values, part * LANES, value, 0);
        }
        for (long i = 0; left < TILE && i < left; i++) store_one(out, place + i, values[i], half);
    }
}

INLINE void multiply_numbers(long count, const float *rows, long inputs, const char *tile, int half, const float *bias,
                             block *found) {
    floats sums[ROWS][PARTS];
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) sums[row][part] = (floats){0};
    for (long i = 0; i < inputs; i++) {
        floats weights[PARTS];
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) weights[part] = load(tile, i * TILE + part * LANES, half);
#pragma GCC unroll 8
        for (long row = 0; row < count; row++) {
            float state = rows[row * inputs + i];
#pragma GCC unroll 4
            for (long part = 0; part < PARTS; part++) sums[row][part] += state * weights[part];
        }
    }
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++)
            found->sums[row][part] = sums[row][part] + load(bias, part * LANES, 0);
}

#if defined(__AVX512BF16__)
enum { HALF_INNER = 2 }; /* inputs of an output that lie together in a product of bfloat16: the CPU multiplies pairs */
INLINE void multiply_halves(long count, const uint16_t *rows, long inputs, const char *tile, const float *bias, block *found) {
    floats sums[ROWS][PARTS];
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) sums[row][part] = (floats){0};
    for (long i = 0; i < inputs; i += 2) {
        __m512bh weights[PARTS];
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++)
            weights[part] = (__m512bh)_mm512_loadu_si512(tile + 2 * (i * TILE + part * LANES * 2));
#pragma GCC unroll 8
        for (long row = 0; row < count; row++) {
            int32_t pair;
            memcpy(&pair, rows + row * inputs + i, sizeof pair);
            __m512bh states = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (long part = 0; part < PARTS; part++)
                sums[row][part] = (floats)_mm512_dpbf16_ps((__m512)sums[row][part], states, weights[part]);
        }
    }
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) found->sums[row][part] = sums[row][part] + load(bias, part * LANES, 0);
}
#else
enum { HALF_INNER = 1 }; /* bfloat16 is what is stored: half the memory; what is multiplied is float */
#endif

/* A linear layer, with its weights in tiles. Where there are no more outputs, weights and what belongs to outputs are zero. */
enum { FLOATS = 0, HALVES = 1, INTEGERS = 2 };
typedef struct {
    long inputs, outputs;
    int32_t kind;         /* of the weights: float, bfloat16 or signed bytes */
    int32_t relu;         /* whether what is negative becomes zero */
    int32_t zero;         /* of the states' bytes: 128, or 0 where no state is negative */
    const char *weight;   /* (ceil(outputs / TILE), ceil(inputs / inner), TILE, inner); see `inner_of` */
    const float *bias;
    const float *scales;  /* of bytes: of each output the scale and the sum of its weights */
    const int32_t *sums;
} matrix;

/* Integers as an instruction takes them: INNER inputs of an output lie together. Sums are exact on every path, with 32 bits: nothing
 * saturates in between. `converted_zero` is the state that stands for 0. */
#if defined(__AVX512VNNI__)
enum { INNER = 4 };
typedef uint8_t state_integer; /* unsigned bytes times signed ones, four to a sum */
typedef __m512i some_weights;
INLINE some_weights load_weights(const int8_t *from) { return _mm512_loadu_si512(from); }
INLINE ints add_products(ints sum, int32_t states, some_weights weights) {
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(states), weights);
}
#elif defined(__ARM_FEATURE_DOTPROD)
enum { INNER = 4 };
typedef int8_t state_integer; /* signed bytes, four to a sum */
typedef int8x16_t some_weights;
INLINE some_weights load_weights(const int8_t *from) { return vld1q_s8(from); }
INLINE ints add_products(ints sum, int32_t states, some_weights weights) {
    return (ints)vdotq_s32((int32x4_t)sum, vreinterpretq_s8_s32(vdupq_n_s32(states)), weights);
}
#elif defined(__SSE2__)
enum { INNER = 2 };
typedef int16_t state_integer; /* 16 bits times 16 bits, two to a sum: 255 * 127 * 2 is far from what would saturate */
#if defined(__AVX512BW__)
typedef __m512i some_weights;
INLINE some_weights load_weights(const int8_t *from) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from)); }
INLINE ints add_products(ints sum, int32_t states, some_weights weights) {
    return sum + (ints)_mm512_madd_epi16(_mm512_set1_epi32(states), weights);
}
#elif defined(__AVX2__)
typedef __m256i some_weights;
INLINE some_weights load_weights(const int8_t *from) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from)); }
INLINE ints add_products(ints sum, int32_t states, some_weights weights) {
    return sum + (ints)_mm256_madd_epi16(_mm256_set1_epi32(states), weights);
}
#else
typedef __m128i some_weights;
INLINE some_weights load_weights(const int8_t *from) {
    __m128i narrow = _mm_loadl_epi64((const __m128i *)from);
    return _mm_srai_epi16(_mm_unpacklo_epi8(narrow, narrow), 8);
}
INLINE ints add_products(ints sum, int32_t states, some_weights weights) {
    return sum + (ints)_mm_madd_epi16(_mm_set1_epi32(states), weights);
}
#endif
#else
enum { INNER = 1 };
typedef int32_t state_integer;
typedef ints some_weights;
INLINE some_weights load_weights(const int8_t *from) {
    typedef int8_t small __attribute__((vector_size(LANES)));
    small narrow;
    memcpy(&narrow, from, sizeof narrow);
    return __builtin_convertvector(narrow, ints);
}
INLINE ints add_products(ints sum, int32_t states, some_weights weights) { return sum + states * weights; }
#endif

INLINE void multiply_integers(long count, const state_integer *rows, long inputs, const int8_t *tile, block *found) {
    ints sums[INTEGER_ROWS][PARTS];
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) sums[row][part] = (ints){0};
    for (long i = 0; i < inputs; i += INNER) {
        some_weights weights[PARTS];
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) weights[part] = load_weights(tile + i * TILE + part * LANES * INNER);
#pragma GCC unroll 8
        for (long row = 0; row < count; row++) {
            int32_t states;
            memcpy(&states, rows + row * inputs + i, sizeof states);
#pragma GCC unroll 4
            for (long part = 0; part < PARTS; part++) sums[row][part] = add_products(sums[row][part], states, weights[part]);
        }
    }
#pragma GCC unroll 8
    for (long row = 0; row < count; row++) memcpy(found->sums[row], sums[row], sizeof sums[row]);
}

/* The zero of the states that are multiplied. */
static inline int converted_zero(int zero) {
#if defined(__AVX512VNNI__)
    return zero;
#elif defined(__ARM_FEATURE_DOTPROD)
    return zero - 128;
#else
    return (void)zero, 0;
#endif
}

/* x * inverse as the nearest integers, ties to even; any number for what is no number. */
INLINE ints nearest(floats x, float inverse) { return (ints)(x * inverse + 12582912.0f) - 0x4b400000; }

/* A row of numbers as integers of so many bytes (1, 2 or 4) and a scale: x = scale * (integer - offset), to the nearest. They reach
 * from -127 to 127 around the offset if `zero` is 128, and from 0 to 255 if it is 0. Returns the scale. */
INLINE float quantise(const void *states, long first, long width, int zero, int offset, int half, long size, void *integers) {
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
    for (long i = 0; i < whole; i += LANES)
        store_integers(integers, i, nearest(load(states, first + i, half), inverse) + offset, size);
    for (long i = whole; i < width; i++) {
        int32_t one = nearest(all(load_one(states, first + i, half)), inverse)[0] + offset;
        if (size == 1) ((int8_t *)integers)[i] = (int8_t)one;
        if (size == 2) ((int16_t *)integers)[i] = (int16_t)one;
        if (size == 4) ((int32_t *)integers)[i] = one;
    }
    return highest / (255 - zero);
}

/* Inputs of an output whose weights lie together. */
static inline long inner_of(const matrix *layer) {
    return layer->kind == FLOATS ? 1 : layer->kind == HALVES ? HALF_INNER : INNER;
}

/* Inputs up to the next multiple of these. */
static inline long whole_inputs(const matrix *layer) {
    long inner = inner_of(layer);
    return (layer->inputs + inner - 1) / inner * inner;
}

/* Whether states are multiplied as the floats that they are. */
static inline int takes_floats(const matrix *layer) { return layer->kind == FLOATS || (layer->kind == HALVES && HALF_INNER == 1); }

/* Rows as they are multiplied: as integers with a scale for each row, in `own`, or as pairs of bfloat16, or as float. They need
 * room for `whole_inputs` of each row in float. */
static inline void prepare(const matrix *layer, const void *states, int half, long rows, void *prepared, float *own) {
    long width = layer->inputs, whole = whole_inputs(layer), size = sizeof(state_integer);
    int zero = layer->zero, offset = converted_zero(zero);
    for (long row = 0; row < rows; row++) {
        long first = row * width;
        if (layer->kind == INTEGERS) {
            state_integer *to = (state_integer *)prepared + row * whole;
            own[row] = half ? quantise(states, first, width, zero, offset, 1, size, to) : quantise(states, first, width, zero, offset, 0, size, to);
            for (long i = width; i < whole; i++) to[i] = 0;
        } else if (takes_floats(layer)) {
            for (long i = 0; i < width; i++) ((float *)prepared)[first + i] = load_one(states, first + i, half);
        } else {
            long i = 0;
            for (; i + LANES <= width; i += LANES) store(prepared, row * whole + i, load(states, first + i, half), 1);
            for (; i < width; i++) store_one(prepared, row * whole + i, load_one(states, first + i, half), 1);
            for (; i < whole; i++) ((uint16_t *)prepared)[row * whole + i] = 0;
        }
    }
}

/* What a block of integers stands for: scaled by output and by row, plus the bias. */
INLINE void rescale_block(const matrix *layer, const float *own, long count, long output, block *found) {
    int middle = converted_zero(layer->zero);
    for (long part = 0; part < PARTS; part++) {
        long place = output + part * LANES;
        floats scale = load(layer->scales, place, 0), bias = load(layer->bias, place, 0);
        ints all_weights;
        memcpy(&all_weights, layer->sums + place, sizeof all_weights);
        for (long row = 0; row < count; row++) {
            ints product;
            memcpy(&product, &found->sums[row][part], sizeof product);
            floats value = __builtin_convertvector(product - middle * all_weights, floats);
            found->sums[row][part] = value * scale * own[row] + bias;
        }
    }
}

/* Outputs whose weights stay in the cache while all rows pass. */
static inline long group_of(const matrix *layer) {
    long tiles = CACHED / (whole_inputs(layer) * (layer->kind == FLOATS ? 4 : layer->kind == HALVES ? 2 : 1) * TILE + 1);
    return TILE * (tiles > 1 ? tiles : 1);
}

/* Outputs `from` to `to` (multiples of TILE, or the end) of prepared rows; out: (rows, outputs) in float, or bfloat16. */
static inline void multiply_all(const matrix *layer, const void *prepared, const float *own, long rows, long from, long to, int half_out,
                         void *out) {
    long inputs = whole_inputs(layer), outputs = layer->outputs, step = group_of(layer), most = layer->kind == INTEGERS ? INTEGER_ROWS : ROWS;
    for (long group = from; group < to; group += step)
        for (long first = 0; first < rows; first += most)
            for (long output = group; output < to && output < group + step; output += TILE) {
                long count = rows - first < most ? rows - first : most, place = output * inputs, start = first * inputs;
                const float *bias = layer->bias + output;
                block found;
                if (layer->kind == INTEGERS) {
                    const state_integer *states = (const state_integer *)prepared + start;
                    EACH_COUNT(multiply_integers, count, INTEGER_ROWS, states, inputs, (const int8_t *)layer->weight + place, &found)
                    rescale_block(layer, own + first, count, output, &found);
                } else if (layer->kind == FLOATS) {
                    EACH_COUNT(multiply_numbers, count, ROWS, (const float *)prepared + start, inputs, layer->weight + 4 * place, 0, bias, &found)
                } else {
#if defined(__AVX512BF16__)
                    EACH_COUNT(multiply_halves, count, ROWS, (const uint16_t *)prepared + start, inputs, layer->weight + 2 * place, bias, &found)
#else
                    EACH_COUNT(multiply_numbers, count, ROWS, (const float *)prepared + start, inputs, layer->weight + 2 * place, 1, bias, &found)
#endif
                }
                store_block(&found, count, outputs, output, layer->relu, half_out, out, first);
            }
}

/* Shares tiles among threads: the first output of each part. */
static inline long part_of(long outputs, long index, long count) {
    long tiles = (outputs + TILE - 1) / TILE, first = tiles * index / count * TILE;
    return first < outputs ? first : outputs;
}
