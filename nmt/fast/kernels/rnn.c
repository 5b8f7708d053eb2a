/* One step of a recurrent decoder: all layers, attention and read-out, for the newest position of each row, in one call.
 *
 * Rows are hypotheses; those of a sentence stand together. Several of them may go on from the same row: what depends on its state
 * alone is computed once. What a word gives to the gates and to the read-out is computed when it is first said, and kept. Contexts
 * are wanted only as what matrices make of them: these are applied to the source once, and attention mixes the results.
 */
#include "looking.h"
#include "recurrence.h"

/* R rows, U rows that they go on from, S source positions, E embedding, H hidden, G gates of a unit, A width of what is scored
 * W width of what a word gives: gates | read-out. F of what a context gives: gates or attentional state, if it does | read-out */

typedef struct {
    long embedding, hidden, layers;
    int32_t unit, maxout;
    int32_t previous, gated, feeding;    /* whether the state before looks, gates read the context, the attentional state is fed */
    long word_width, word_readout;       /* W, and where its read-out begins */
    long context_width, context_readout; /* F, and where its read-out begins */
    const float *table;                    /* (V, E) embeddings */
    matrix word;                           /* (E) to (W) */
    float *words;                          /* (V, W) of the words whose byte in `known` is set; no table: NULL */
    uint8_t *known;                        /* (V) */
    matrix fed, attentional, read;         /* (H) to (G * H), to (H), to the read-out */
    const matrix *recurrent, *upper;       /* of each layer (H) to (G * H), and of those above the first what they read */
    looking look;
} rnn_decoder;

/* Of a step; a state is, of each layer, h and perhaps c; what is fed; and the coverage. */
typedef struct {
    long beam, position, state;                /* hypotheses of a sentence, and how many numbers a state is */
    const int64_t *owners, *tokens, *origins;  /* (R / beam) sources, (R) last words, (R) which of the states before are theirs */
    const float *before;                       /* (rows before, state) */
    float *after, *out;                        /* (R, state) and hidden states (R, E), ready for the output layer */
} rnn_call;

typedef struct {
    int64_t *from, *place, *owner, *row_owner;       /* (U) rows before, (R) which of them, (U) and (R) sources */
    float *gathered, *recurrent, *added, *words;     /* (U, H), (layers, U, G * H), (U, G * H), (R, W) */
    float *hidden, *given, *mixed, *coverage;        /* (R, H), (R, G * H), (R, F), (R, S) */
    float *query, *guess, *scores, *context, *total; /* (R, A), (R, H), (S), (R, C), (R, read-out) */
    scratch space;
} rnn_room;

/* Room for so many rows. from: see `take`. */
static rnn_room take_rnn_room(const rnn_decoder *m, long rows, long longest, uintptr_t *from) {
    long gates = m->unit * m->hidden, wide = m->hidden > m->embedding ? m->hidden : m->embedding;
    long width = m->look.heads > 1 ? m->look.context.inputs : 0, number = sizeof(float);
    wide = width > wide ? width : wide;
    rnn_room r;
    r.from = take(from, rows, 8), r.place = take(from, rows, 8), r.owner = take(from, rows, 8), r.row_owner = take(from, rows, 8);
    r.gathered = take(from, rows * wide, number), r.recurrent = take(from, m->layers * rows * gates, number);
    r.added = take(from, rows * gates, number), r.words = take(from, m->known ? 0 : rows * m->word_width, number);
    r.hidden = take(from, rows * m->hidden, number), r.given = take(from, rows * gates, number);
    r.mixed = take(from, rows * m->context_width, number), r.coverage = take(from, rows * longest, number);
    r.query = take(from, rows * m->look.width, number), r.guess = take(from, rows * m->hidden, number);
    r.scores = take(from, longest + 2 * LANES, number), r.context = take(from, rows * width, number);
    r.total = take(from, rows * (m->word_width - m->word_readout), number);
    r.space = take_scratch(from, rows, wide);
    return r;
}

long nmt_rnn_room(const rnn_decoder *m, long rows, long longest, long threads) {
    uintptr_t end = 0;
    take_rnn_room(m, (rows + threads - 1) / threads, longest, &end);
    return (end * threads + 64) / sizeof(float);
}

/* What some rows see from their states (rows, H): mixed (rows, F). coverage: (rows, S), changed. */
static void look_at_source(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, const float *states, const int64_t *owners,
                           long rows, rnn_room *r) {
    const looking *by = &m->look;
    const float *queries = by->query.outputs ? r->query : states;
    long several = by->heads > 1, width = several ? by->context.inputs : m->context_width;
    if (by->query.outputs) product(&by->query, states, rows, r->query, &r->space);
    for (long i = 0; by->score == ADDITIVE && i < rows * by->width; i += LANES) store(r->query, i, squared_power(load(r->query, i, 0)), 0);
    if (by->weighting == NEAR_GUESS) product(&by->guess, states, rows, r->guess, &r->space);
    for (long row = 0; row < rows; row++) {
        floats share = {0};
        for (long i = 0; by->weighting == NEAR_GUESS && i < m->hidden; i += LANES)
            share += tangent(load(r->guess, row * m->hidden + i, 0)) * load(by->towards, i, 0);
        float *coverage = by->covering ? r->coverage + row * s->longest : NULL;
        look_once(by, s, owners[row], c->position, queries + row * by->width, logistic(all(sum(share)))[0], coverage, width, r->scores,
                  (several ? r->context : r->mixed) + row * width);
    }
    if (several) product(&by->context, r->context, rows, r->mixed, &r->space);
}

/* Where in a state the coverage begins. */
static long coverage_place(const rnn_decoder *m) { return m->hidden * (m->layers * state_parts(m->unit) + (m->feeding != 0)); }

/* What depends on the states before alone: recurrent products, what is fed, and what is seen from a state before. */
static void go_on(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, long count, rnn_room *r) {
    long hidden = m->hidden, parts = state_parts(m->unit), gates = m->unit * hidden;
    memset(r->added, 0, sizeof(float) * count * gates);
    for (long layer = 0; layer < m->layers + (m->feeding != 0); layer++) {
        for (long u = 0; u < count; u++)
            memcpy(r->gathered + u * hidden, c->before + r->from[u] * c->state + layer * parts * hidden, sizeof(float) * hidden);
        if (layer == m->layers)
            product(&m->fed, r->gathered, count, r->added, &r->space);
        else
            product(m->recurrent + layer, r->gathered, count, r->recurrent + layer * count * gates, &r->space);
        for (long u = 0; layer == 0 && m->look.covering && u < count; u++)
            memcpy(r->coverage + u * s->longest, c->before + r->from[u] * c->state + coverage_place(m), sizeof(float) * s->longest);
        if (layer == 0 && m->previous) look_at_source(m, s, c, r->gathered, r->owner, count, r);
    }
}

/* What the words of some rows give (W each): kept, or computed now. */
static const float *words_of(const rnn_decoder *m, const rnn_call *c, long first, long rows, rnn_room *r) {
    if (m->known) return m->words;
    for (long row = 0; row < rows; row++)
        memcpy(r->gathered + row * m->embedding, m->table + c->tokens[first + row] * m->embedding, sizeof(float) * m->embedding);
    product(&m->word, r->gathered, rows, r->words, &r->space);
    return r->words;
}

/* The recurrence of all layers; the states of the highest are left in `hidden`. */
static void recur(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, const float *words, long first, long rows, long count,
                  rnn_room *r) {
    long hidden = m->hidden, parts = state_parts(m->unit), gates = m->unit * hidden;
    for (long layer = 0; layer < m->layers; layer++) {
        if (layer) product(m->upper + layer - 1, r->hidden, rows, r->given, &r->space);
        if (layer == 1) memset(r->added, 0, sizeof(float) * gates);
        for (long row = 0; row < rows; row++) {
            long place = r->place[row], shift = layer * parts * hidden;
            const float *given = r->given + row * gates, *added = r->added;
            if (layer == 0) {
                given = words + (m->known ? c->tokens[first + row] : row) * m->word_width;
                added = !m->gated     ? r->added + place * gates
                        : m->previous ? r->mixed + place * m->context_width
                                      : s->values + r->row_owner[row] * m->context_width;
            }
            float *after = c->after + (first + row) * c->state + shift;
            advance(m->unit, hidden, given, added, r->recurrent + (layer * count + place) * gates,
                    c->before + r->from[place] * c->state + shift, after);
            memcpy(r->hidden + row * hidden, after, sizeof(float) * hidden);
        }
    }
}

/* Coverage and attentional state for the next step. */
static void hand_on(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, long first, long rows, rnn_room *r) {
    for (long row = 0; m->look.covering && row < rows; row++)
        memcpy(c->after + (first + row) * c->state + coverage_place(m), r->coverage + (m->previous ? r->place[row] : row) * s->longest,
               sizeof(float) * s->longest);
    if (!m->feeding) return;
    product(&m->attentional, r->hidden, rows, r->given, &r->space);
    for (long row = 0; row < rows; row++) {
        float *fed = c->after + (first + row) * c->state + m->hidden * m->layers * state_parts(m->unit);
        for (long i = 0; i < m->hidden; i += LANES)
            store(fed, i, tangent(load(r->given, row * m->hidden + i, 0) + load(r->mixed, row * m->context_width + i, 0)), 0);
    }
}

/* From state, word and context to the width of the embeddings. */
static void read_out(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, const float *words, long first, long rows, rnn_room *r) {
    long wide = m->read.outputs;
    product(&m->read, r->hidden, rows, r->total, &r->space);
    for (long row = 0; row < rows; row++) {
        const float *word = words + (m->known ? c->tokens[first + row] : row) * m->word_width + m->word_readout;
        const float *context = m->look.score == NOTHING ? s->values + r->row_owner[row] * m->context_width
                                                        : r->mixed + (m->previous ? r->place[row] : row) * m->context_width;
        float *total = r->total + row * wide, *out = c->out + (first + row) * m->embedding;
        for (long i = 0; i < wide; i += LANES) {
            floats all_three = load(total, i, 0) + load(word, i, 0) + load(context + m->context_readout, i, 0);
            store(total, i, m->maxout ? all_three : tangent(all_three), 0);
        }
        for (long i = 0; i < m->embedding; i++)
            out[i] = !m->maxout ? total[i] : total[2 * i] > total[2 * i + 1] ? total[2 * i] : total[2 * i + 1];
    }
}

static void step_rnn_rows(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, long first, long rows, rnn_room *r) {
    long count = distinct(c->origins + first, rows, c->beam, r->from, r->place);
    for (long row = 0; row < rows; row++) r->owner[r->place[row]] = r->row_owner[row] = c->owners[(first + row) / c->beam];
    go_on(m, s, c, count, r);
    const float *words = words_of(m, c, first, rows, r);
    recur(m, s, c, words, first, rows, count, r);
    if (m->look.score != NOTHING && !m->previous) {
        for (long row = rows - 1; m->look.covering && row >= 0; row--) /* from the last: none is overwritten before it is read */
            memmove(r->coverage + row * s->longest, r->coverage + r->place[row] * s->longest, sizeof(float) * s->longest);
        look_at_source(m, s, c, r->hidden, r->row_owner, rows, r);
    }
    hand_on(m, s, c, first, rows, r);
    read_out(m, s, c, words, first, rows, r);
}

/* Keeps what the words of a step give that were not said before. room: for some words, see `nmt_rnn_room`. */
static void learn_words(const rnn_decoder *m, const int64_t *tokens, long rows, rnn_room *r) {
    for (long row = 0; m->known && row < rows; row++) {
        long token = tokens[row];
        if (__atomic_load_n(m->known + token, __ATOMIC_ACQUIRE)) continue;
        memcpy(r->gathered, m->table + token * m->embedding, sizeof(float) * m->embedding);
        product(&m->word, r->gathered, 1, m->words + token * m->word_width, &r->space);
        __atomic_store_n(m->known + token, 1, __ATOMIC_RELEASE);
    }
}

/* Hidden states (R, E) after the last token of each row, and the states of the rows; see `rnn_call`. room: see `nmt_rnn_room`. */
void nmt_rnn_step(const rnn_decoder *m, const rnn_sources *s, const rnn_call *c, long rows, int threads, float *room) {
    long share = (rows + threads - 1) / threads;
    uintptr_t start = ((uintptr_t)room + 63) / 64 * 64, end = 0;
    take_rnn_room(m, share, s->longest, &end);
    uintptr_t place = start;
    rnn_room first_room = take_rnn_room(m, share, s->longest, &place);
    learn_words(m, c->tokens, rows, &first_room);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        uintptr_t own = start + part * end;
        rnn_room r = take_rnn_room(m, share, s->longest, &own);
        long first = part * share, count = rows - first < share ? rows - first : share;
        if (count > 0) step_rnn_rows(m, s, c, first, count, &r);
    }
}
