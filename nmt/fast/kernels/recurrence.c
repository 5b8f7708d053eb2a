/* A position of a recurrent decoder that attends to the source, while it is trained: its look at the source and its cell, and their gradients.
 *
 * What products read or write is bfloat16 where `half` is set, all else float. Threads share the sentences. The products themselves, and
 * all gradients that are sums over positions, are left to one large product each, after the last position.
 */
#include "vectors.h"

/* B sentences, S source positions, A width of keys, C width of values, H hidden */

enum { PORTIONS = 16 }; /* of the sentences, whose sums are taken together */

long nmt_portions(void) { return PORTIONS; }

typedef struct {
    long sentences, longest, width, depth; /* B, S, A, C */
    int32_t half;
    const float *keys;    /* (B, S, A) e^2k */
    const float *combine; /* (A) */
    const void *values;   /* (B, S, C) */
    const int64_t *lengths;
} looked_at;

INLINE void look(const looked_at *at, int half, long sentence, const float *query, float *weights, void *context) {
    long length = at->lengths[sentence];
    const float *keys = at->keys + sentence * at->longest * at->width;
    float highest = -INFINITY, total = 0;
    for (long s = 0; s < length; s++) {
        floats score = {0};
        for (long i = 0; i < at->width; i += LANES)
            score += load(at->combine, i, 0) / (load(query, i, 0) * load(keys, s * at->width + i, 0) + 1.0f);
        weights[s] = -2 * sum(score);
        if (weights[s] > highest) highest = weights[s];
    }
    for (long s = 0; s < length; s++) total += weights[s] = expf(weights[s] - highest);
    for (long s = 0; s < at->longest; s++) weights[s] = s < length ? weights[s] / total : 0;
    for (long i = 0; i < at->depth; i += 4 * LANES) {
        floats mixed[4] = {{0}};
        long parts = at->depth - i < 4 * LANES ? (at->depth - i) / LANES : 4;
        for (long s = 0; s < length; s++)
            for (long part = 0; part < parts; part++)
                mixed[part] += weights[s] * load(at->values, (sentence * at->longest + s) * at->depth + i + part * LANES, half);
        for (long part = 0; part < parts; part++) store(context, sentence * at->depth + i + part * LANES, mixed[part], half);
    }
}

/* softmax(v . tanh(q + k)) V of each sentence. queries: (B, A) e^2q; weights: (B, S), zero at padding; context: (B, C). */
void nmt_look(const looked_at *at, const float *queries, float *weights, void *context, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long b = 0; b < at->sentences; b++) {
        if (at->half)
            look(at, 1, b, queries + b * at->width, weights + b * at->longest, context);
        else
            look(at, 0, b, queries + b * at->width, weights + b * at->longest, context);
    }
}

/* With r = 1 / (1 + e^2q e^2k): tanh(q + k) = 1 - 2 r, and its slope is 4 r (1 - r). */
INLINE void look_back(const looked_at *at, int half, long sentence, const float *query, const float *weights, const void *d_context,
                      void *d_queries, long step, float *d_keys, float *d_combine, float *room) {
    long length = at->lengths[sentence];
    const float *keys = at->keys + sentence * at->longest * at->width;
    float mean = 0, *slopes = room + at->width;
    d_keys += sentence * at->longest * at->width;
    for (long s = 0; s < length; s++) {
        floats slope = {0};
        for (long i = 0; i < at->depth; i += LANES)
            slope += load(d_context, sentence * at->depth + i, half) * load(at->values, (sentence * at->longest + s) * at->depth + i, half);
        slopes[s] = sum(slope);
        mean += weights[s] * slopes[s];
    }
    for (long i = 0; i < at->width; i++) room[i] = 0;
    for (long s = 0; s < length; s++) {
        float slope = weights[s] * (slopes[s] - mean);
        for (long i = 0; i < at->width; i += LANES) {
            floats r = 1.0f / (load(query, i, 0) * load(keys, s * at->width + i, 0) + 1.0f);
            floats gradient = load(at->combine, i, 0) * (4 * slope) * r * (1.0f - r);
            store(d_keys, s * at->width + i, load(d_keys, s * at->width + i, 0) + gradient, 0);
            store(room, i, load(room, i, 0) + gradient, 0);
            store(d_combine, i, load(d_combine, i, 0) - 2 * slope * r, 0);
        }
    }
    for (long i = 0; i < at->width; i += LANES) store(d_queries, sentence * step + i, load(room, i, 0), half);
}

/* The way back. d_queries: (B, A), `step` from row to row, by q; d_keys: (B, S, A), added to, by k; d_combine: (PORTIONS, A), added to.
 *
 * Returns 0, or 1 if there is no memory.
 */
int nmt_look_back(const looked_at *at, const float *queries, const float *weights, const void *d_context, void *d_queries, long step,
                  float *d_keys, float *d_combine, int threads) {
    float *rooms = malloc(sizeof(float) * PORTIONS * (at->width + at->longest));
    if (!rooms) return 1;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long portion = 0; portion < PORTIONS; portion++)
        for (long b = at->sentences * portion / PORTIONS; b < at->sentences * (portion + 1) / PORTIONS; b++) {
            const float *query = queries + b * at->width, *own = weights + b * at->longest;
            float *room = rooms + portion * (at->width + at->longest), *sums = d_combine + portion * at->width;
            if (at->half)
                look_back(at, 1, b, query, own, d_context, d_queries, step, d_keys, sums, room);
            else
                look_back(at, 0, b, query, own, d_context, d_queries, step, d_keys, sums, room);
        }
    free(rooms);
    return 0;
}

INLINE floats magnitude(floats x) { return larger(x, -x); }
INLINE floats chosen(ints mask, floats one, floats two) { return (floats)(((ints)one & mask) | ((ints)two & ~mask)); }
INLINE floats sigmoid(floats x) {
    floats power = exponential(-magnitude(x)), share = 1.0f / (power + 1.0f);
    return chosen(x > all(0), share, power * share);
}
INLINE floats hyperbolic(floats x) {
    floats power = exponential(-2 * magnitude(x)), value = (1.0f - power) / (power + 1.0f);
    return chosen(x > all(0), value, -value);
}

/* One step of a cell for rows (B): where its parts are. */
typedef struct {
    long rows, hidden;
    int32_t half, lstm;                   /* else a GRU, whose reset gate acts after the recurrent product */
    const void *inputs, *contexts;        /* (rows, gates * H) products of the word and of the context */
    const void *recurrent;                /* (rows, gates * H) product of the state, `recurrent_step` from row to row */
    long input_step, recurrent_step;
    const float *bias;                    /* (gates * H) of the recurrent product */
    const float *memory;                  /* (rows, H) c of an LSTM, h of a GRU */
    float *active, *after;                /* (rows, 4 H) gates as they are applied; (rows, H) the next c or h */
    void *state;                          /* (rows, H) h for products */
    long state_step;
} cell;

INLINE void cell_row(const cell *at, int half, long row) {
    long width = at->hidden;
    float *active = at->active + row * 4 * width;
    for (long i = 0; i < width; i += LANES) {
        floats x[4] = {{0}}, y[4] = {{0}}, before = load(at->memory, row * width + i, 0), after, out;
        long gates = at->lstm ? 4 : 3;
        for (long gate = 0; gate < gates; gate++) {
            long place = gate * width + i;
            x[gate] = load(at->inputs, row * at->input_step + place, half) + load(at->contexts, row * gates * width + place, half);
            y[gate] = load(at->recurrent, row * at->recurrent_step + place, half) + load(at->bias, place, 0);
        }
        if (at->lstm) {
            floats in = sigmoid(x[0] + y[0]), kept = sigmoid(x[1] + y[1]), new = hyperbolic(x[2] + y[2]), shown = sigmoid(x[3] + y[3]);
            after = kept * before + in * new, out = shown * hyperbolic(after);
            store(active, i, in, 0), store(active, width + i, kept, 0), store(active, 2 * width + i, new, 0);
            store(active, 3 * width + i, shown, 0);
        } else {
            floats reset = sigmoid(x[0] + y[0]), update = sigmoid(x[1] + y[1]), new = hyperbolic(x[2] + reset * y[2]);
            after = out = new + update * (before - new);
            store(active, i, reset, 0), store(active, width + i, update, 0), store(active, 2 * width + i, new, 0);
            store(active, 3 * width + i, y[2], 0);
        }
        store(at->after, row * width + i, after, 0);
        store(at->state, row * at->state_step + i, out, half);
    }
}

/* The next state of an LSTM (Hochreiter and Schmidhuber 1997) or a GRU (Cho et al. 2014). */
void nmt_cell(const cell *at, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < at->rows; row++) {
        if (at->half)
            cell_row(at, 1, row);
        else
            cell_row(at, 0, row);
    }
}

INLINE void cell_row_back(const cell *at, int half, long row, const float *d_state, float *d_memory, void *d_inputs, void *d_recurrent) {
    long width = at->hidden;
    const float *active = at->active + row * 4 * width;
    for (long i = 0; i < width; i += LANES) {
        floats one = load(active, i, 0), two = load(active, width + i, 0), three = load(active, 2 * width + i, 0);
        floats four = load(active, 3 * width + i, 0), before = load(at->memory, row * width + i, 0);
        floats slope = load(d_state, row * width + i, 0), carried = load(d_memory, row * width + i, 0), x[4], last;
        long gates = at->lstm ? 4 : 3;
        if (at->lstm) {
            floats seen = hyperbolic(load(at->after, row * width + i, 0));
            carried += slope * four * (1.0f - seen * seen);
            x[0] = carried * three * one * (1.0f - one), x[1] = carried * before * two * (1.0f - two);
            x[2] = carried * one * (1.0f - three * three), last = x[3] = slope * seen * four * (1.0f - four);
            carried *= two;
        } else {
            x[2] = slope * (1.0f - two) * (1.0f - three * three);
            x[0] = x[2] * four * one * (1.0f - one), x[1] = slope * (before - three) * two * (1.0f - two);
            last = x[2] * one, carried = slope * two;
        }
        for (long gate = 0; gate < gates; gate++) {
            store(d_inputs, row * gates * width + gate * width + i, x[gate], half);
            store(d_recurrent, row * at->recurrent_step + gate * width + i, gate + 1 < gates ? x[gate] : last, half);
        }
        store(d_memory, row * width + i, carried, 0);
    }
}

/* The way back. d_state: (rows, H) by h; d_memory: (rows, H) by the next c (zero for a GRU), becomes that by the one before (for a GRU
 * what does not go through a product); d_inputs: (rows, gates * H); d_recurrent: the same, as far apart as the recurrent product. */
void nmt_cell_back(const cell *at, const float *d_state, float *d_memory, void *d_inputs, void *d_recurrent, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < at->rows; row++) {
        if (at->half)
            cell_row_back(at, 1, row, d_state, d_memory, d_inputs, d_recurrent);
        else
            cell_row_back(at, 0, row, d_state, d_memory, d_inputs, d_recurrent);
    }
}
