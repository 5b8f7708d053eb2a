/* One direction of a recurrent encoder over some sentences.
 *
 * Padding is never visited. Threads share the sentences. A sentence is read by itself, in the same order wherever it stands.
 */
#include "recurrence.h"
#include "steps.h"

/* B sentences, S positions, I inputs, H hidden, G gates of a unit */

typedef struct {
    long hidden;
    int32_t unit, backwards;
    matrix input, recurrent; /* (I) and (H) to (G * H) */
} reader;

enum { AHEAD = 8, CROWD = 32 }; /* positions whose inputs are multiplied at once, and sentences that are read at once */

typedef struct {
    float *inputs, *given, *added, *last, *recurrent, *state; /* of AHEAD positions, of none, of the sentences */
    scratch space;
} desk;

static desk take_desk(const reader *by, uintptr_t *place) {
    long gates = by->unit * by->hidden, rows = CROWD * AHEAD, wide = by->input.inputs > by->hidden ? by->input.inputs : by->hidden;
    desk d;
    d.inputs = take(place, rows * by->input.inputs, sizeof(float)), d.given = take(place, rows * gates, sizeof(float));
    d.added = take(place, gates, sizeof(float)), d.last = take(place, CROWD * by->hidden, sizeof(float));
    d.recurrent = take(place, CROWD * gates, sizeof(float));
    d.state = take(place, CROWD * state_parts(by->unit) * by->hidden, sizeof(float));
    d.space = take_scratch(place, rows, wide);
    return d;
}

/* Numbers (float) of room for so many threads. */
long nmt_reading_room(const reader *by, long threads) {
    uintptr_t end = 0;
    take_desk(by, &end);
    return (end * threads + 64) / sizeof(float);
}

/* Up to CROWD sentences; see `nmt_read`. */
static void read_some(const reader *by, const float *inputs, const int64_t *lengths, long sentences, long longest, long width, desk *d,
                      float *states, float *last) {
    long hidden = by->hidden, gates = by->unit * hidden, size = state_parts(by->unit) * hidden, extent = 0, given = by->input.inputs;
    for (long b = 0; b < sentences; b++) extent = lengths[b] > extent ? lengths[b] : extent;
    memset(d->state, 0, sizeof(float) * sentences * size), memset(d->added, 0, sizeof(float) * gates);
    for (long first = 0; first < extent; first += AHEAD) {
        long rows = 0, row = 0, end = first + AHEAD < extent ? first + AHEAD : extent;
        for (long t = first; t < end; t++)
            for (long b = 0; b < sentences; b++) {
                long place = b * longest + (by->backwards ? lengths[b] - 1 - t : t);
                if (t < lengths[b]) memcpy(d->inputs + rows++ * given, inputs + place * given, sizeof(float) * given);
            }
        product(&by->input, d->inputs, rows, d->given, &d->space);
        for (long t = first; t < end; t++) {
            long count = 0, which = 0;
            for (long b = 0; b < sentences; b++)
                if (t < lengths[b]) memcpy(d->last + count++ * hidden, d->state + b * size, sizeof(float) * hidden);
            product(&by->recurrent, d->last, count, d->recurrent, &d->space);
            for (long b = 0; b < sentences; b++) {
                if (t >= lengths[b]) continue;
                float *state = d->state + b * size;
                advance(by->unit, hidden, d->given + row++ * gates, d->added, d->recurrent + which++ * gates, state, state);
                long place = b * longest + (by->backwards ? lengths[b] - 1 - t : t);
                memcpy(states + place * width, state, sizeof(float) * hidden);
            }
        }
    }
    for (long b = 0; b < sentences; b++) memcpy(last + b * hidden, d->state + b * size, sizeof(float) * hidden);
}

/* states: H of `width` numbers a position, (B, S, width), those of padding unchanged; last: (B, H) the states that were last.
 *
 * inputs: (B, S, I); lengths: (B) positions that count; room: see `nmt_reading_room`.
 */
void nmt_read(const reader *by, const float *inputs, const int64_t *lengths, long sentences, long longest, long width, int threads,
              float *room, float *states, float *last) {
    uintptr_t start = ((uintptr_t)room + 63) / 64 * 64, size = 0;
    take_desk(by, &size);
    long share = (sentences + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        uintptr_t place = start + part * size;
        desk d = take_desk(by, &place);
        long end = (part + 1) * share < sentences ? (part + 1) * share : sentences;
        for (long b = part * share; b < end; b += CROWD)
            read_some(by, inputs + b * longest * by->input.inputs, lengths + b, end - b < CROWD ? end - b : CROWD, longest, width, &d,
                      states + b * longest * width, last + b * by->hidden);
    }
}
