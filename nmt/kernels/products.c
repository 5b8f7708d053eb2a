/* Products of rows with matrices, in numbers and in integers.
 *
 * Weights lie in tiles of so many outputs, one input (or a few) after the other. Some rows at a time meet a tile in registers. Each
 * output is one sum over the inputs, in their order: a row's result does not depend on its batch, to the bit.
 */
#include "vectors.h"
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

/* NATIVE numbers fill a register, PARTS registers a tile; ROWS times PARTS sums and what meets them fit into all registers. */
#if defined(__AVX512F__)
enum { NATIVE = 16, PARTS = 2, ROWS = 8 };
#elif defined(__AVX2__)
enum { NATIVE = 8, PARTS = 2, ROWS = 6 };
#elif defined(__aarch64__)
enum { NATIVE = 4, PARTS = 4, ROWS = 6 };
#else
enum { NATIVE = 4, PARTS = 2, ROWS = 6 };
#endif
enum { TILE = NATIVE * PARTS, GROUP = 512 }; /* a group of outputs stays in the cache while all rows pass */
typedef float native __attribute__((vector_size(4 * NATIVE)));
typedef int32_t native_ints __attribute__((vector_size(4 * NATIVE)));
typedef uint32_t native_words __attribute__((vector_size(4 * NATIVE)));
typedef uint16_t native_halves __attribute__((vector_size(2 * NATIVE)));
typedef struct { native sums[ROWS][PARTS]; } block;

#define INLINE static inline __attribute__((always_inline))

/* Outputs whose weights lie together, and inputs of an output that do in a product of integers. */
long nmt_tile(void) { return TILE; }

INLINE native load_native(const void *from, long place, int half) {
    native values;
    if (half) {
        native_halves bits;
        memcpy(&bits, (const uint16_t *)from + place, sizeof bits);
        native_words wide = __builtin_convertvector(bits, native_words) << 16;
        memcpy(&values, &wide, sizeof values);
    } else {
        memcpy(&values, (const float *)from + place, sizeof values);
    }
    return values;
}

/* One call for each count of rows, so that each has registers of its own. */
#define EACH_COUNT(multiply, count, ...) \
    switch (count) { \
        case 1: multiply(1, __VA_ARGS__); break; \
        case 2: multiply(2, __VA_ARGS__); break; \
        case 3: multiply(3, __VA_ARGS__); break; \
        case 4: multiply(4, __VA_ARGS__); break; \
        case 5: multiply(5, __VA_ARGS__); break; \
        case 6: multiply(6, __VA_ARGS__); break; \
        case 7: multiply(ROWS < 7 ? ROWS : 7, __VA_ARGS__); break; \
        default: multiply(ROWS, __VA_ARGS__); \
    }

/* Writes what a block has found of a tile's outputs, or of those that are left. */
INLINE void store_block(const block *found, long rows, long outputs, long output, int relu, int half, void *out, long first) {
    long left = outputs - output < TILE ? outputs - output : TILE;
    for (long row = 0; row < rows; row++) {
        float values[TILE];
        memcpy(values, found->sums[row], sizeof values);
        for (long i = 0; relu && i < TILE; i++) values[i] = values[i] > 0 ? values[i] : 0;
        long place = (first + row) * outputs + output;
        if (!half) memcpy((float *)out + place, values, sizeof(float) * left);
        for (long i = 0; half && i < left; i++) store_one(out, place + i, values[i], 1);
    }
}

INLINE void multiply_numbers(long count, const float *rows, long inputs, const char *tile, int half, const float *bias,
                             block *found) {
    native sums[ROWS][PARTS];
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) sums[row][part] = (native){0};
    for (long i = 0; i < inputs; i++) {
        native weights[PARTS];
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) weights[part] = load_native(tile, i * TILE + part * NATIVE, half);
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
            found->sums[row][part] = sums[row][part] + load_native(bias, part * NATIVE, 0);
}

/* y = x W + b, cut off at zero if `relu`.
 *
 * states: (rows, inputs); weight: (ceil(outputs / TILE), inputs, TILE) and bias, float, with zeros where there are no more outputs;
 * out: (rows, outputs). All but the bias in bfloat16 if `half`; sums are float. Returns 0, or 1 if there is no memory.
 */
int nmt_multiply(const void *states, int half, long rows, long inputs, const char *weight, const float *bias, long outputs,
                 int relu, void *out) {
    float *wide = half ? malloc(sizeof(float) * (rows * inputs + 1)) : NULL;
    if (half && !wide) return 1;
    for (long i = 0; half && i < rows * inputs; i++) wide[i] = load_one(states, i, 1);
    const float *numbers = half ? wide : states;
    for (long group = 0; group < outputs; group += GROUP)
        for (long first = 0; first < rows; first += ROWS)
            for (long output = group; output < outputs && output < group + GROUP; output += TILE) {
                const char *tile = weight + output * inputs * (half ? 2 : 4);
                long count = rows - first < ROWS ? rows - first : ROWS;
                block found;
                if (half) {
                    EACH_COUNT(multiply_numbers, count, numbers + first * inputs, inputs, tile, 1, bias + output, &found)
                    store_block(&found, count, outputs, output, relu, 1, out, first);
                } else {
                    EACH_COUNT(multiply_numbers, count, numbers + first * inputs, inputs, tile, 0, bias + output, &found)
                    store_block(&found, count, outputs, output, relu, 0, out, first);
                }
            }
    free(wide);
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

/* Integers as an instruction takes them: INNER inputs of an output lie together. Sums are exact on every path, with 32 bits: nothing
 * saturates in between. SHIFT is what is taken from unsigned bytes to make the states that are multiplied. */
#if defined(__AVX512VNNI__)
enum { INNER = 4 };
typedef uint8_t state_integer; /* unsigned bytes times signed ones, four to a sum */
INLINE native_ints add_products(native_ints sum, const state_integer *states, const int8_t *weights) {
    int32_t four;
    memcpy(&four, states, sizeof four);
    return (native_ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), _mm512_loadu_si512(weights));
}
#elif defined(__ARM_FEATURE_DOTPROD)
enum { INNER = 4 };
typedef int8_t state_integer; /* signed bytes, four to a sum */
INLINE native_ints add_products(native_ints sum, const state_integer *states, const int8_t *weights) {
    int32_t four;
    memcpy(&four, states, sizeof four);
    return (native_ints)vdotq_s32((int32x4_t)sum, vreinterpretq_s8_s32(vdupq_n_s32(four)), vld1q_s8(weights));
}
#elif defined(__SSE2__)
enum { INNER = 2 };
typedef int16_t state_integer; /* 16 bits times 16 bits, two to a sum: 255 * 127 * 2 is far from what would saturate */
INLINE native_ints add_products(native_ints sum, const state_integer *states, const int8_t *weights) {
    int32_t two;
    memcpy(&two, states, sizeof two);
#if defined(__AVX512BW__)
    __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)weights));
    return sum + (native_ints)_mm512_madd_epi16(_mm512_set1_epi32(two), wide);
#elif defined(__AVX2__)
    __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)weights));
    return sum + (native_ints)_mm256_madd_epi16(_mm256_set1_epi32(two), wide);
#else
    __m128i bytes = _mm_loadl_epi64((const __m128i *)weights);
    __m128i wide = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    return sum + (native_ints)_mm_madd_epi16(_mm_set1_epi32(two), wide);
#endif
}
#else
enum { INNER = 1 };
typedef int32_t state_integer;
INLINE native_ints add_products(native_ints sum, const state_integer *states, const int8_t *weights) {
    typedef int8_t small __attribute__((vector_size(NATIVE)));
    small bytes;
    memcpy(&bytes, weights, sizeof bytes);
    return sum + *states * __builtin_convertvector(bytes, native_ints);
}
#endif

long nmt_inner(void) { return INNER; }

INLINE void multiply_integers(long count, const state_integer *rows, long inputs, const int8_t *tile, block *found) {
    native_ints sums[ROWS][PARTS];
#pragma GCC unroll 8
    for (long row = 0; row < count; row++)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++) sums[row][part] = (native_ints){0};
    for (long i = 0; i < inputs; i += INNER)
#pragma GCC unroll 4
        for (long part = 0; part < PARTS; part++)
#pragma GCC unroll 8
            for (long row = 0; row < count; row++) {
                const int8_t *weights = tile + i * TILE + part * NATIVE * INNER;
                sums[row][part] = add_products(sums[row][part], rows + row * inputs + i, weights);
            }
#pragma GCC unroll 8
    for (long row = 0; row < count; row++) memcpy(found->sums[row], sums[row], sizeof sums[row]);
}

/* Bytes around `zero` as the states that are multiplied; returns the zero of these. */
static inline int convert(const uint8_t *bytes, long width, int zero, state_integer *states) {
#if defined(__AVX512VNNI__)
    memcpy(states, bytes, width);
    return zero;
#elif defined(__ARM_FEATURE_DOTPROD)
    for (long i = 0; i < width; i++) states[i] = (int8_t)(bytes[i] ^ 128);
    return zero - 128;
#else
    for (long i = 0; i < width; i++) states[i] = (state_integer)(bytes[i] - zero);
    return 0;
#endif
}

/* y = s_x s_w (x W) + b in integers, of rows that `quantise` makes.
 *
 * states: (rows, width); weight: (ceil(outputs / TILE), inputs / INNER, TILE, INNER), inputs being the next multiple of INNER; of each
 * output the scale, sum and bias of its weights; zeros where there are no more outputs. out: (rows, outputs). Returns 0, or 1 if
 * there is no memory.
 */
int nmt_multiply_integers(const void *states, int half, long rows, long width, int zero, const int8_t *weight,
                          const float *scales, const int32_t *sums, const float *bias, long outputs, int relu, int half_out,
                          void *out) {
    long inputs = (width + INNER - 1) / INNER * INNER;
    state_integer *integers = calloc(rows * inputs + 1, sizeof *integers);
    uint8_t *bytes = malloc(width + 1);
    float *own = malloc(sizeof(float) * (rows + 1));
    int failed = !integers || !bytes || !own, middle = 0;
    for (long row = 0; !failed && row < rows; row++) {
        own[row] = half ? quantise(states, row * width, width, zero, 1, bytes) : quantise(states, row * width, width, zero, 0, bytes);
        middle = convert(bytes, width, zero, integers + row * inputs);
    }
    for (long group = 0; !failed && group < outputs; group += GROUP)
        for (long first = 0; first < rows; first += ROWS)
            for (long output = group; output < outputs && output < group + GROUP; output += TILE) {
                long count = rows - first < ROWS ? rows - first : ROWS;
                block found;
                EACH_COUNT(multiply_integers, count, integers + first * inputs, inputs, weight + output * inputs, &found)
                for (long row = 0; row < count; row++)
                    for (long part = 0; part < PARTS; part++) {
                        long place = output + part * NATIVE;
                        native_ints product, all_weights;
                        memcpy(&product, &found.sums[row][part], sizeof product);
                        memcpy(&all_weights, sums + place, sizeof all_weights);
                        native number = __builtin_convertvector(product - middle * all_weights, native);
                        found.sums[row][part] =
                            number * load_native(scales, place, 0) * own[first + row] + load_native(bias, place, 0);
                    }
                store_block(&found, count, outputs, output, relu, half_out, out, first);
            }
    free(integers), free(bytes), free(own);
    return failed;
}
