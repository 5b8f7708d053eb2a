/* Cross entropy of rows of logits and its gradient, in one visit of each row.
 *
 * Every row is computed by itself, in the same order wherever it stands. Sums are float, totals double.
 */
#include <float.h>
#include "vectors.h"

enum { COLUMNS = 256 }; /* whose sums stay in registers and the first cache */

/* A row of logits in room of its own, filled up to whole LANES by numbers that count nothing. */
typedef struct {
    float *logits;
    float *powers; /* e^(logit - highest) */
    float highest;
    float normaliser; /* log sum_v e^logit_v; NaN if a logit is not finite */
    float share;      /* 1 / sum of the powers */
} distribution;

static inline void visit(const void *row, const float *bias, long size, int half, distribution *made) {
    long whole = size / LANES * LANES, padded = (size + LANES - 1) / LANES * LANES;
    floats high = all(-FLT_MAX), broken = {0};
    for (long i = whole; i < padded; i++) made->logits[i] = i < size ? load_one(row, i, half) + (bias ? bias[i] : 0) : -FLT_MAX;
    for (long i = 0; i < padded; i += LANES) {
        floats values = i < whole ? load(row, i, half) : load(made->logits, i, 0);
        if (bias && i < whole) values += load(bias, i, 0);
        store(made->logits, i, values, 0);
        high = larger(high, values);
        broken += values * 0;
    }
    made->highest = largest(high);
    double total = 0;
    for (long i = 0; i < padded;) {
        floats some = {0};
        for (long end = i + 64 * LANES < padded ? i + 64 * LANES : padded; i < end; i += LANES) {
            floats power = exponential(load(made->logits, i, 0) - made->highest);
            store(made->powers, i, power, 0);
            some += power;
        }
        total += sum(some);
    }
    made->normaliser = made->highest + log(total) + sum(broken);
    made->share = 1 / total;
}

static inline void store_row(void *row, long size, int half, long place, floats values) {
    if (place + LANES <= size) {
        store(row, place, values, half);
    } else {
        for (long i = place; i < size; i++) store_one(row, i, values[i - place], half);
    }
}

/* Of cross entropy by LANES logits: p - (1 - smoothing) one_hot(target) - smoothing / size, exact where p is near one. */
static inline floats gradient(floats p, long place, long target, float smoothing, long size) {
    p -= smoothing / size;
    if (place <= target && target < place + LANES) p[target - place] -= 1 - smoothing;
    return p;
}

/* KL(P1 || P2) + KL(P2 || P1). The rows become the gradient of cross entropy + weight times that of this by their logits, which
 * by those of P1 is p1 (log p1 - log p2 - KL(P1 || P2)) + p1 - p2.
 */
static inline float diverge(const distribution *one, const distribution *two, long size, int half, long target, float smoothing,
                            float weight, void *first, void *second) {
    float offset = one->normaliser - two->normaliser;
    double forth = 0, back = 0;
    for (long i = 0; i < size;) {
        floats there = {0}, here = {0};
        for (long end = i + 64 * LANES < size ? i + 64 * LANES : size; i < end; i += LANES) {
            floats gap = load(one->logits, i, 0) - load(two->logits, i, 0) - offset;
            there += load(one->powers, i, 0) * gap;
            here -= load(two->powers, i, 0) * gap;
        }
        forth += sum(there), back += sum(here);
    }
    forth *= one->share, back *= two->share;
    for (long i = 0; first && i < size; i += LANES) {
        floats gap = load(one->logits, i, 0) - load(two->logits, i, 0) - offset;
        floats p = load(one->powers, i, 0) * one->share, q = load(two->powers, i, 0) * two->share;
        floats here = weight * (p * (gap - (float)forth + 1) - q), there = weight * (q * (1 - gap - (float)back) - p);
        store_row(first, size, half, i, gradient(p, i, target, smoothing, size) + here);
        store_row(second, size, half, i, gradient(q, i, target, smoothing, size) + there);
    }
    return forth + back;
}

/* Adds the sum of the rows to `columns`, from `first` on for as many columns as a block has. */
static inline void add_up(const void *rows, long count, long size, int half, long first, float *columns) {
    floats totals[COLUMNS / LANES] = {0};
    long last = first + COLUMNS < size ? first + COLUMNS : size, whole = first + (last - first) / LANES * LANES;
    for (long row = 0; row < count; row++)
        for (long i = first; i < whole; i += LANES) totals[(i - first) / LANES] += load(rows, row * size + i, half);
    for (long i = first; i < whole; i += LANES) store(columns, i, load(columns, i, 0) + totals[(i - first) / LANES], 0);
    for (long i = whole; i < last; i++)
        for (long row = 0; row < count; row++) columns[i] += load_one(rows, row * size + i, half);
}

/* rows: logits (passes * count, size); with two passes, row r and row count + r are the same token.
 *
 * Of each row: negative log-likelihood of its target, log of the normaliser, whether the target is the most probable; of
 * each token: the divergence of its two passes. If `columns` (size) is given, rows become the gradient of the smoothed cross
 * entropy + weight times the divergence by the logits, and their sums are added to it. Returns 0, or 1 if there is no memory.
 */
int nmt_cross_entropy(void *rows, const float *bias, int half, long count, long size, long passes, const int64_t *targets,
                      float smoothing, float weight, int threads, float *negative, float *normaliser, uint8_t *right,
                      float *divergence, float *columns) {
    long padded = (size + LANES - 1) / LANES * LANES, bytes = size * (half ? 2 : 4);
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *room = malloc(sizeof(float) * padded * 2 * passes);
        if (!room) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for
        for (long token = 0; token < count; token++) {
            if (failed) continue;
            distribution made[2];
            char *places[2] = {0};
            for (long pass = 0; pass < passes; pass++) {
                long at = pass * count + token;
                distribution *own = &made[pass];
                own->logits = room + 2 * pass * padded, own->powers = own->logits + padded;
                places[pass] = (char *)rows + at * bytes;
                if (half)
                    visit(places[pass], bias, size, 1, own);
                else
                    visit(places[pass], bias, size, 0, own);
                float chosen = own->logits[targets[at]];
                negative[at] = own->normaliser - chosen, normaliser[at] = own->normaliser;
                right[at] = chosen >= own->highest;
            }
            if (passes == 2) {
                void *first = columns ? places[0] : NULL;
                long target = targets[token];
                divergence[token] = half ? diverge(&made[0], &made[1], size, 1, target, smoothing, weight, first, places[1])
                                         : diverge(&made[0], &made[1], size, 0, target, smoothing, weight, first, places[1]);
            } else if (columns) {
                for (long i = 0; i < size; i += LANES) {
                    floats p = load(made->powers, i, 0) * made->share;
                    store_row(places[0], size, half, i, gradient(p, i, targets[token], smoothing, size));
                }
            }
        }
        free(room);
        if (columns && !failed) {
#pragma omp for
            for (long first = 0; first < size; first += COLUMNS)
                if (half)
                    add_up(rows, count * passes, size, 1, first, columns);
                else
                    add_up(rows, count * passes, size, 0, first, columns);
        }
    }
    return failed;
}
