/* Vectors of 16 numbers: those of GCC and Clang, which any CPU has in some width.
 *
 * Numbers in memory are float, or bfloat16 where `half` is set.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Where registers are shorter a vector of 16 is passed in memory. GCC says so of each function, all of which are inlined. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

enum { LANES = 16 };
typedef float floats __attribute__((vector_size(64)));
typedef float floats8 __attribute__((vector_size(32)));
typedef float floats4 __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef int32_t ints8 __attribute__((vector_size(32)));
typedef int32_t ints4 __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(32)));
typedef uint8_t bytes __attribute__((vector_size(16)));

static inline floats all(float value) { return value - (floats){0}; }

static inline floats load(const void *from, long place, int half) {
    if (half) {
        halves bits;
        memcpy(&bits, (const uint16_t *)from + place, sizeof bits);
        return (floats)(__builtin_convertvector(bits, words) << 16);
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

static inline floats larger(floats one, floats two) {
    ints mask = one > two;
    return (floats)(((ints)one & mask) | ((ints)two & ~mask));
}

static inline float sum(floats values) {
    floats8 parts[2];
    memcpy(parts, &values, sizeof parts);
    floats8 eight = parts[0] + parts[1];
    floats4 quarters[2];
    memcpy(quarters, &eight, sizeof quarters);
    floats4 four = quarters[0] + quarters[1];
    return (four[0] + four[1]) + (four[2] + four[3]);
}

#if defined(__clang__) || __GNUC__ >= 12
#define CHOSEN(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else
#define CHOSEN(one, two, ...) __builtin_shuffle(one, two, (ints8){__VA_ARGS__})
#endif

/* The sums of four vectors, in fewer steps than one after the other. */
static inline floats4 sums(floats one, floats two, floats three, floats four) {
    floats8 parts[4][2];
    memcpy(parts[0], &one, sizeof one), memcpy(parts[1], &two, sizeof two);
    memcpy(parts[2], &three, sizeof three), memcpy(parts[3], &four, sizeof four);
    floats8 a = parts[0][0] + parts[0][1], b = parts[1][0] + parts[1][1];
    floats8 c = parts[2][0] + parts[2][1], d = parts[3][0] + parts[3][1];
    floats8 ab = CHOSEN(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + CHOSEN(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    floats8 cd = CHOSEN(c, d, 0, 8, 1, 9, 4, 12, 5, 13) + CHOSEN(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    floats8 all_four = CHOSEN(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + CHOSEN(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    floats4 ends[2];
    memcpy(ends, &all_four, sizeof ends);
    return ends[0] + ends[1];
}

static inline float largest(floats values) {
    floats8 parts[2];
    memcpy(parts, &values, sizeof parts);
    ints8 mask8 = parts[0] > parts[1];
    floats8 eight = (floats8)(((ints8)parts[0] & mask8) | ((ints8)parts[1] & ~mask8));
    floats4 quarters[2];
    memcpy(quarters, &eight, sizeof quarters);
    ints4 mask4 = quarters[0] > quarters[1];
    floats4 four = (floats4)(((ints4)quarters[0] & mask4) | ((ints4)quarters[1] & ~mask4));
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
