/* Vectors as wide as the registers of the instructions that are compiled for: those of GCC and Clang.
 *
 * Numbers in memory are float, or bfloat16 where `half` is set. What is laid out in whole vectors is so in 16 numbers, for any width.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef float floats4 __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef int32_t ints4 __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef int16_t shorts __attribute__((vector_size(2 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES)));

#define INLINE static inline __attribute__((always_inline))

/* Numbers of 16 bits in words: compilers do it for 256 bits in two halves. */
static inline words widened(halves bits) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return (words)_mm256_cvtepu16_epi32((__m128i)bits);
#else
    return __builtin_convertvector(bits, words);
#endif
}

static inline floats all(float value) { return value - (floats){0}; }

static inline floats load(const void *from, long place, int half) {
    if (half) {
        halves bits;
        memcpy(&bits, (const uint16_t *)from + place, sizeof bits);
        return (floats)(widened(bits) << 16);
    }
    floats values;
    memcpy(&values, (const float *)from + place, sizeof values);
    return values;
}

static inline float load_one(const void *from, long place, int half) {
    if (!half) return ((const float *)from)[place];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[place] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void store(void *to, long place, floats values, int half) {
    if (half) { /* to the nearest, ties to even */
        words bits = (words)values;
        halves rounded = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
        memcpy((uint16_t *)to + place, &rounded, sizeof rounded);
    } else {
        memcpy((float *)to + place, &values, sizeof values);
    }
}

static inline void store_one(void *to, long place, float value, int half) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (half)
        ((uint16_t *)to)[place] = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    else
        ((float *)to)[place] = value;
}

/* The lowest bytes of integers, so many (1, 2 or 4) of each. */
static inline void store_integers(void *to, long place, ints values, long size) {
    shorts narrow = __builtin_convertvector(values, shorts);
    bytes least = __builtin_convertvector(values, bytes);
    memcpy((char *)to + place * size, size == 4 ? (void *)&values : size == 2 ? (void *)&narrow : (void *)&least, size * LANES);
}

static inline floats larger(floats one, floats two) {
    ints mask = one > two;
    return (floats)(((ints)one & mask) | ((ints)two & ~mask));
}

/* The sum of each four numbers that stand a quarter apart. */
static inline floats4 folded(floats values) {
    floats4 parts[LANES / 4];
    memcpy(parts, &values, sizeof parts);
#if LANES == 16
    return (parts[0] + parts[2]) + (parts[1] + parts[3]);
#elif LANES == 8
    return parts[0] + parts[1];
#else
    return parts[0];
#endif
}

static inline float sum(floats values) {
    floats4 four = folded(values);
    return (four[0] + four[1]) + (four[2] + four[3]);
}

#if defined(__clang__) || __GNUC__ >= 12
#define CHOSEN(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else
#define CHOSEN(one, two, ...) __builtin_shuffle(one, two, (ints4){__VA_ARGS__})
#endif

/* The sums of four vectors, in fewer steps than one after the other. */
static inline floats4 sums(floats one, floats two, floats three, floats four) {
    floats4 a = folded(one), b = folded(two), c = folded(three), d = folded(four);
    floats4 ab = CHOSEN(a, b, 0, 4, 1, 5) + CHOSEN(a, b, 2, 6, 3, 7), cd = CHOSEN(c, d, 0, 4, 1, 5) + CHOSEN(c, d, 2, 6, 3, 7);
    return CHOSEN(ab, cd, 0, 1, 4, 5) + CHOSEN(ab, cd, 2, 3, 6, 7);
}

static inline float largest(floats values) {
    floats4 parts[LANES / 4], four;
    memcpy(parts, &values, sizeof parts);
    four = parts[0];
    for (int i = 1; i < LANES / 4; i++) {
        ints4 mask = four > parts[i];
        four = (floats4)(((ints4)four & mask) | ((ints4)parts[i] & ~mask));
    }
    float one = four[0] > four[1] ? four[0] : four[1], two = four[2] > four[3] ? four[2] : four[3];
    return one > two ? one : two;
}

/* e^x for x <= 0, to the last bit or nearly: 2^n times the series of 2^r, |r| <= 1/2. What is below -87 counts as -87. */
static inline floats exponential(floats x) {
    floats power = larger(x, all(-87.0f)) * 1.44269504f;
    floats shifted = power + 12582912.0f; /* n, in the low bits */
    floats r = power - (shifted - 12582912.0f);
    floats series = all(1.5403530e-4f);
    series = series * r + 1.3333558e-3f;
    series = series * r + 9.6181291e-3f;
    series = series * r + 5.5504109e-2f;
    series = series * r + 2.4022651e-1f;
    series = series * r + 6.9314718e-1f;
    series = series * r + 1.0f;
    return (floats)((ints)series + (((ints)shifted) << 23));
}
