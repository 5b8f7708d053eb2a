/* One step of a convolutional decoder: all layers, for the newest position of each row, in one call.
 *
 * Rows are hypotheses; those of a sentence stand together. What a kernel makes of earlier positions depends on the row that a row
 * goes on from alone, and is computed once for all that do.
 */
#include "recurrence.h"
#include "steps.h"

/* R rows, U rows that they go on from, S source positions, E embedding, H hidden, W positions that a kernel sees */

typedef struct {
    matrix past, newest; /* ((W - 1) H) and (H) to (2 H): of the positions before, and of this */
    matrix query;        /* (H) to (E) */
} convolution_layer;

typedef struct {
    long embedding, hidden, layers, reach; /* reach: W - 1 */
    const float *table;                    /* (V, E) embeddings */
    matrix input, output;                  /* (E) to (H) and (H) to (E) */
    const convolution_layer *layer;
} convolution;

/* The sources of a batch. */
typedef struct {
    long longest;
    const int64_t *lengths;     /* (sentences) */
    const float *keys;          /* (sentences, S, E) */
    const float *const *values; /* of each layer (sentences, S, H) what its output layer makes of them */
} convolution_sources;

/* Of a step; a state is the last W - 1 inputs of each layer (layers, W - 1, H), the oldest first. */
typedef struct {
    long beam;                                /* hypotheses of a sentence */
    const int64_t *owners, *tokens, *origins; /* (R / beam) sources, (R) last words, (R) which of the states before are theirs */
    const float *place;                       /* (E) what this position adds to embeddings */
    const float *before;                      /* (rows before, state) */
    float *after, *out;                       /* (R, state) and hidden states (R, E), ready for the output layer */
} convolution_call;

typedef struct {
    int64_t *from, *place;                        /* (U) rows before, (R) which of them */
    float *window, *past;                         /* (U, (W - 1) H), (U, 2 H) */
    float *embedded, *states, *convolved, *gates; /* (R, E), (R, H), (R, H), (R, 2 H) */
    float *query, *scores, *context;              /* (R, E), (S), (H) */
    scratch space;
} convolution_room;

static convolution_room take_convolution_room(const convolution *m, long rows, long longest, uintptr_t *from) {
    long number = sizeof(float), hidden = m->hidden, wide = m->reach * hidden > m->embedding ? m->reach * hidden : m->embedding;
    convolution_room r;
    r.from = take(from, rows, 8), r.place = take(from, rows, 8);
    r.window = take(from, rows * m->reach * hidden, number), r.past = take(from, rows * 2 * hidden, number);
    r.embedded = take(from, rows * m->embedding, number), r.states = take(from, rows * hidden, number);
    r.convolved = take(from, rows * hidden, number), r.gates = take(from, rows * 2 * hidden, number);
    r.query = take(from, rows * m->embedding, number), r.scores = take(from, longest + 2 * LANES, number);
    r.context = take(from, hidden, number);
    r.space = take_scratch(from, rows, wide > hidden ? wide : hidden);
    return r;
}

/* Numbers (float) of room for so many rows, positions of the source and threads. */
long nmt_convolution_room(const convolution *m, long rows, long longest, long threads) {
    uintptr_t end = 0;
    take_convolution_room(m, (rows + threads - 1) / threads, longest, &end);
    return (end * threads + 64) / sizeof(float);
}

/* v([A B]) = A * sigmoid(B) of the windows that end at the newest position: `convolved`. What the next step sees is handed on. */
static void convolve(const convolution *m, const convolution_call *c, long number, long first, long rows, long count, convolution_room *r) {
    const convolution_layer *by = m->layer + number;
    long hidden = m->hidden, size = m->reach * hidden, state = m->layers * size;
    for (long u = 0; u < count; u++) memcpy(r->window + u * size, c->before + r->from[u] * state + number * size, sizeof(float) * size);
    memset(r->past, 0, sizeof(float) * count * 2 * hidden);
    if (size) product(&by->past, r->window, count, r->past, &r->space);
    product(&by->newest, r->states, rows, r->gates, &r->space);
    for (long row = 0; row < rows; row++) {
        const float *past = r->past + r->place[row] * 2 * hidden, *gates = r->gates + row * 2 * hidden, *states = r->states + row * hidden;
        for (long i = 0; i < hidden; i += LANES) {
            floats gate = logistic(load(past, hidden + i, 0) + load(gates, hidden + i, 0));
            store(r->convolved, row * hidden + i, (load(past, i, 0) + load(gates, i, 0)) * gate, 0);
        }
        float *after = c->after + (first + row) * state + number * size;
        if (!size) continue;
        memcpy(after, r->window + r->place[row] * size + hidden, sizeof(float) * (size - hidden));
        memcpy(after + size - hidden, states, sizeof(float) * hidden);
    }
}

static void step_some(const convolution *m, const convolution_sources *s, const convolution_call *c, long first, long rows,
                      convolution_room *r) {
    long hidden = m->hidden, width = m->embedding, count = distinct(c->origins + first, rows, c->beam, r->from, r->place);
    const float half = 0.70710678f; /* keeps the variance of a sum of two */
    for (long row = 0; row < rows; row++)
        for (long i = 0; i < width; i += LANES)
            store(r->embedded, row * width + i, load(m->table, c->tokens[first + row] * width + i, 0) + load(c->place, i, 0), 0);
    product(&m->input, r->embedded, rows, r->states, &r->space);
    for (long number = 0; number < m->layers; number++) {
        convolve(m, c, number, first, rows, count, r);
        product(&m->layer[number].query, r->convolved, rows, r->query, &r->space);
        for (long i = 0; i < rows * width; i += LANES) store(r->query, i, (load(r->query, i, 0) + load(r->embedded, i, 0)) * half, 0);
        for (long row = 0; row < rows; row++) {
            long owner = c->owners[(first + row) / c->beam], length = s->lengths[owner], start = row * hidden;
            product_scores(r->query + row * width, s->keys + owner * s->longest * width, width, length, width, 1, r->scores);
            soft_weights(r->scores, length);
            blend(r->scores, s->values[number] + owner * s->longest * hidden, hidden, length, hidden, r->context);
            for (long i = 0; i < hidden; i += LANES) {
                floats both = (load(r->convolved, start + i, 0) + load(r->context, i, 0)) * half;
                store(r->states, start + i, (both + load(r->states, start + i, 0)) * half, 0);
            }
        }
    }
    product(&m->output, r->states, rows, c->out + first * width, &r->space);
}

/* Hidden states (R, E) after the last token of each row, and the states of the rows; see `convolution_call`. */
void nmt_convolution_step(const convolution *m, const convolution_sources *s, const convolution_call *c, long rows, int threads,
                          float *room) {
    uintptr_t start = ((uintptr_t)room + 63) / 64 * 64, size = 0;
    long share = (rows + threads - 1) / threads;
    take_convolution_room(m, share, s->longest, &size);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        uintptr_t place = start + part * size;
        convolution_room r = take_convolution_room(m, share, s->longest, &place);
        long first = part * share, count = rows - first < share ? rows - first : share;
        if (count > 0) step_some(m, s, c, first, count, &r);
    }
}
