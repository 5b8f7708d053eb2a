/* Multi-head attention of a batch of sentences that is trained on, forward and backward: softmax(Q K^T / sqrt(K)) V.
 *
 * Rows are words, without padding; those of a sentence stand together. A head of a sentence is small enough to stay in the cache, so
 * that queries, keys and values are read where the projections have left them. Sums are float. Each sentence is computed by itself.
 */
#include "dropout.h"
#include "vectors.h"
#include <float.h>

/* T queries and S keys of a sentence, K width of a head, D = heads * K */

typedef struct {
    long sentences, heads, size; /* K, a multiple of LANES */
    int32_t half, causal;
    float scale, rate; /* of scores; of dropout on weights */
    uint64_t key;
    const int64_t *here, *there; /* (sentences + 1) the first query and the first key of each sentence */
    const int64_t *places;       /* (sentences) where its weights (heads, T, S in whole LANES) begin */
    long query_step, key_step;   /* from row to row */
    const void *queries, *keys, *values;
    const float *query_bias, *key_bias, *value_bias; /* (D), added to them */
    float *weights;
} attention;

enum { SHARES = 32 }; /* of the sentences, whose sums are taken together */
#if defined(__AVX512F__)
enum { HIGH = 6, WIDE = 4 }; /* vectors of sums that are in registers */
#else
enum { HIGH = 6, WIDE = 2 };
#endif

long nmt_lanes(void) { return LANES; }
long nmt_shares(void) { return SHARES; }

static inline long whole(long count) { return (count + LANES - 1) / LANES * LANES; }

INLINE void panel(int high, int wide, long inner, const float *left, long row_step, long inner_step, const float *right,
                  long right_step, float *out, long out_step) {
    floats sums[HIGH][WIDE];
#pragma GCC unroll 6
    for (int row = 0; row < high; row++)
#pragma GCC unroll 4
        for (int part = 0; part < wide; part++) sums[row][part] = (floats){0};
    for (long i = 0; i < inner; i++) {
        floats others[WIDE];
#pragma GCC unroll 4
        for (int part = 0; part < wide; part++) others[part] = load(right, i * right_step + part * LANES, 0);
#pragma GCC unroll 6
        for (int row = 0; row < high; row++) {
            float one = left[row * row_step + i * inner_step];
#pragma GCC unroll 4
            for (int part = 0; part < wide; part++) sums[row][part] += one * others[part];
        }
    }
#pragma GCC unroll 6
    for (int row = 0; row < high; row++)
#pragma GCC unroll 4
        for (int part = 0; part < wide; part++) store(out, row * out_step + part * LANES, sums[row][part], 0);
}

#define EACH_HEIGHT(wide) \
    switch (high) { \
        case 1: panel(1, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); break; \
        case 2: panel(2, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); break; \
        case 3: panel(3, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); break; \
        case 4: panel(4, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); break; \
        case 5: panel(5, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); break; \
        default: panel(6, wide, inner, from, row_step, inner_step, right + column, right_step, to, out_step); \
    }

/* out (rows, columns) = left (rows, inner) times right (inner, columns); columns is a multiple of LANES. */
static void times(long rows, long columns, long inner, const float *left, long row_step, long inner_step, const float *right,
                  long right_step, float *out, long out_step) {
    for (long column = 0; column < columns; column += WIDE * LANES)
        for (long row = 0; row < rows; row += HIGH) {
            long high = rows - row, wide = (columns - column) / LANES;
            const float *from = left + row * row_step;
            float *to = out + row * out_step + column;
            if (wide >= 4 && WIDE == 4) {
                EACH_HEIGHT(WIDE)
            } else if (wide >= 3 && WIDE == 4) {
                EACH_HEIGHT(WIDE - 1)
            } else if (wide >= 2) {
                EACH_HEIGHT(2)
            } else {
                EACH_HEIGHT(1)
            }
        }
}

/* Rows of a head as numbers, with their bias and scaled. */
INLINE void read_rows(const void *from, const float *bias, int half, long first, long step, long column, long rows, long size, float scale,
                      float *out) {
    for (long row = 0; row < rows; row++)
        for (long i = 0; i < size; i += LANES) {
            long place = (first + row) * step + column + i;
            __builtin_prefetch((const char *)from + (place + size) * (half ? 2 : 4)); /* for the next head */
            floats value = load(from, place, half);
            if (bias) value += load(bias, column + i, 0);
            store(out, row * size + i, value * scale, 0);
        }
}

/* The same the other way: writes them and adds them to sums. */
INLINE void write_rows(const float *rows_of, long rows, long size, float scale, int half, long first, long step, long column, void *to,
                       float *sums) {
    for (long i = 0; i < size; i += LANES) {
        floats total = {0};
        for (long row = 0; row < rows; row++) {
            floats value = load(rows_of, row * size + i, 0) * scale;
            store(to, (first + row) * step + column + i, value, half);
            total += value;
        }
        if (sums) store(sums, column + i, load(sums, column + i, 0) + total, 0);
    }
}

/* from (rows, columns) to (columns, padded): what is behind the rows is zero. */
static void transpose(float *from, long rows, long columns, long padded, float *to) {
    memset(from + rows * columns, 0, sizeof(float) * (padded - rows) * columns);
    for (long row = 0; row < padded; row += 4)
        for (long column = 0; column < columns; column += 4) {
            floats4 a, b, c, d;
            const float *here = from + row * columns + column;
            memcpy(&a, here, sizeof a), memcpy(&b, here + columns, sizeof b);
            memcpy(&c, here + 2 * columns, sizeof c), memcpy(&d, here + 3 * columns, sizeof d);
            floats4 ab = CHOSEN(a, b, 0, 4, 1, 5), cd = CHOSEN(c, d, 0, 4, 1, 5);
            floats4 above = CHOSEN(a, b, 2, 6, 3, 7), below = CHOSEN(c, d, 2, 6, 3, 7);
            a = CHOSEN(ab, cd, 0, 1, 4, 5), b = CHOSEN(ab, cd, 2, 3, 6, 7);
            c = CHOSEN(above, below, 0, 1, 4, 5), d = CHOSEN(above, below, 2, 3, 6, 7);
            float *there = to + column * padded + row;
            memcpy(there, &a, sizeof a), memcpy(there + padded, &b, sizeof b);
            memcpy(there + 2 * padded, &c, sizeof c), memcpy(there + 3 * padded, &d, sizeof d);
        }
}

/* Numbers of a row that are seen: all ones where the place is below `count`. */
INLINE ints below(long place, long count) {
    ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane + (int32_t)place < (ints){0} + (int32_t)count;
}

/* A row of scores, of which `seen` are seen, becomes its softmax. */
static void soften(float *scores, long seen, long padded) {
    floats high = all(-FLT_MAX), total = {0};
    for (long i = 0; i < padded; i += LANES) {
        ints there = below(i, seen);
        floats score = load(scores, i, 0);
        score = (floats)(((ints)score & there) | ((ints)all(-FLT_MAX) & ~there));
        high = larger(high, score);
    }
    float highest = largest(high);
    for (long i = 0; i < padded; i += LANES) {
        floats score = load(scores, i, 0) - highest;
        floats power = (floats)((ints)exponential(score) & below(i, seen));
        total += power + score * 0; /* what is not finite shows */
        store(scores, i, power, 0);
    }
    float share = 1 / sum(total);
    for (long i = 0; i < padded; i += LANES) store(scores, i, load(scores, i, 0) * share, 0);
}

static void drop_weights(const attention *of, long place, long count, const float *from, float *to) {
    dropout thinned = dropout_of(of->key, of->rate);
    for (long i = 0; i < count; i += LANES) store(to, i, thin(load(from, i, 0), place + i, thinned), 0);
}

static long longest(const int64_t *firsts, long sentences) {
    long found = 1;
    for (long b = 0; b < sentences; b++)
        if (firsts[b + 1] - firsts[b] > found) found = firsts[b + 1] - firsts[b];
    return found;
}

/* What a thread needs besides: room for one head of a sentence. */
typedef struct {
    float *queries, *keys, *values, *turned, *out, *dropped, *slopes;
} headroom;

static float *headroom_of(const attention *of, headroom *made) {
    long t = longest(of->here, of->sentences), s = whole(longest(of->there, of->sentences)), size = of->size;
    long most = t > s ? t : s;
    float *all_of_it = malloc(sizeof(float) * ((2 * most + 3 * s) * size + 2 * t * s));
    made->queries = all_of_it, made->out = made->queries + most * size;
    made->keys = made->out + most * size, made->values = made->keys + s * size, made->turned = made->values + s * size;
    made->dropped = made->turned + s * size, made->slopes = made->dropped + t * s;
    return all_of_it;
}

INLINE void attend(const attention *of, int half, long sentence, long head, headroom *room, void *context) {
    long size = of->size, column = head * size, first = of->here[sentence], other = of->there[sentence];
    long t = of->here[sentence + 1] - first, s = of->there[sentence + 1] - other, padded = whole(s);
    long place = of->places[sentence] + head * t * padded;
    float *weights = of->weights + place;
    read_rows(of->queries, of->query_bias, half, first, of->query_step, column, t, size, of->scale, room->queries);
    read_rows(of->keys, of->key_bias, half, other, of->key_step, column, s, size, 1, room->keys);
    read_rows(of->values, of->value_bias, half, other, of->key_step, column, s, size, 1, room->values);
    transpose(room->keys, s, size, padded, room->turned);
    times(t, padded, size, room->queries, size, 1, room->turned, padded, weights, padded);
    for (long row = 0; row < t; row++) soften(weights + row * padded, of->causal ? row + 1 : s, padded);
    if (of->rate > 0) drop_weights(of, place, t * padded, weights, room->dropped), weights = room->dropped;
    times(t, size, s, weights, padded, 1, room->values, size, room->out, size);
    write_rows(room->out, t, size, 1, half, first, of->heads * size, column, context, NULL);
}

/* context (rows, D) of all heads of all sentences; fills the weights. Returns 0, or 1 if there is no memory. */
int nmt_attend(const attention *of, void *context, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        headroom room;
        float *own = headroom_of(of, &room);
        if (!own) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for
        for (long sentence = 0; sentence < of->sentences; sentence++)
            for (long head = 0; own && head < of->heads; head++) {
                if (of->half)
                    attend(of, 1, sentence, head, &room, context);
                else
                    attend(of, 0, sentence, head, &room, context);
            }
        free(own);
    }
    return failed;
}

/* With P = softmax(S) and O = P V: dV = P^T dO, dP = dO V^T, dS = P (dP - sum P dP), dQ = dS K, dK = dS^T Q. */
INLINE void attend_back(const attention *of, int half, long sentence, long head, headroom *room, const void *d_context, void *d_queries,
                        void *d_keys, void *d_values, float *sums) {
    long size = of->size, width = of->heads * size, column = head * size;
    long first = of->here[sentence], other = of->there[sentence];
    long t = of->here[sentence + 1] - first, s = of->there[sentence + 1] - other, padded = whole(s);
    long place = of->places[sentence] + head * t * padded;
    const float *weights = of->weights + place, *dropped = weights;
    read_rows(of->keys, of->key_bias, half, other, of->key_step, column, s, size, 1, room->keys);
    read_rows(of->values, of->value_bias, half, other, of->key_step, column, s, size, 1, room->values);
    read_rows(d_context, NULL, half, first, width, column, t, size, 1, room->queries);
    transpose(room->values, s, size, padded, room->turned);
    times(t, padded, size, room->queries, size, 1, room->turned, padded, room->slopes, padded);
    if (of->rate > 0) {
        drop_weights(of, place, t * padded, weights, room->dropped), dropped = room->dropped;
        drop_weights(of, place, t * padded, room->slopes, room->slopes);
    }
    times(s, size, t, dropped, 1, padded, room->queries, size, room->out, size);
    write_rows(room->out, s, size, 1, half, other, of->key_step, column, d_values, sums + 2 * width);
    for (long row = 0; row < t * padded; row += padded) {
        floats total = {0};
        for (long i = row; i < row + padded; i += LANES) total += load(weights, i, 0) * load(room->slopes, i, 0);
        float mean = sum(total);
        for (long i = row; i < row + padded; i += LANES)
            store(room->slopes, i, load(weights, i, 0) * (load(room->slopes, i, 0) - mean), 0);
    }
    times(t, size, s, room->slopes, padded, 1, room->keys, size, room->out, size);
    write_rows(room->out, t, size, of->scale, half, first, of->query_step, column, d_queries, sums);
    read_rows(of->queries, of->query_bias, half, first, of->query_step, column, t, size, of->scale, room->queries);
    times(s, size, t, room->slopes, 1, padded, room->queries, size, room->out, size);
    write_rows(room->out, s, size, 1, half, other, of->key_step, column, d_keys, sums + width);
}

/* Gradients of queries, keys and values, as far apart as these, from those of the context.
 *
 * sums: (SHARES, 3, D), zero: parts of the gradients of their biases. Returns 0, or 1 if there is no memory.
 */
int nmt_attend_back(const attention *of, const void *d_context, void *d_queries, void *d_keys, void *d_values, float *sums, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        headroom room;
        float *own = headroom_of(of, &room);
        if (!own) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for
        for (long share = 0; share < SHARES; share++) {
            long last = of->sentences * (share + 1) / SHARES;
            float *part = sums + share * 3 * of->heads * of->size;
            for (long sentence = of->sentences * share / SHARES; own && sentence < last; sentence++)
                for (long head = 0; head < of->heads; head++) {
                    if (of->half)
                        attend_back(of, 1, sentence, head, &room, d_context, d_queries, d_keys, d_values, part);
                    else
                        attend_back(of, 0, sentence, head, &room, d_context, d_queries, d_keys, d_values, part);
                }
        }
        free(own);
    }
    return failed;
}
