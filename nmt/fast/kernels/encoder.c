/* A Transformer's encoder, and what its decoder keeps of the source. Padding is never computed.
 *
 * Some sentences are computed at a time, so that weights are read seldom and states stay in the cache. Threads share the sentences.
 */
#include "layers.h"

enum { ROWS_AT_ONCE = 128 };

/* Sentences at a time. */
static long chunk_of(long longest) { return longest < ROWS_AT_ONCE ? ROWS_AT_ONCE / longest : 1; }

/* Numbers (float) of room. */
long nmt_encoder_room(const stack *model, long longest, long threads) {
    long keys = model->width * whole_lanes(longest);
    return threads * (room_of(model, chunk_of(longest) * longest, longest) + keys);
}

/* Keys of a position (D), across: (H * K, padded), at place t. */
static void lay_across(const float *keys, long width, long padded, long t, float *across) {
    for (long i = 0; i < width; i++) across[i * padded + t] = keys[i];
}

/* Self-attention of each position of a sentence; wide: (S, 3 D) queries, keys and values. */
static void attend_within(const stack *model, float *wide, const float *turns, long length, float *keys, workroom *room, float *out) {
    long width = model->width, padded = whole_lanes(length);
    for (long t = 0; t < length; t++) {
        float *query = wide + t * 3 * width;
        if (model->rotary) {
            const float *own = turns + t * (width / model->heads);
            rotate(model, own, query), rotate(model, own, query + width);
        }
        lay_across(query + width, width, padded, t, keys);
        room->places[t] = query + 2 * width;
    }
    for (long i = 0; i < width; i++)
        for (long t = length; t < padded; t++) keys[i * padded + t] = 0;
    for (long t = 0; t < length; t++)
        attend_over(model, wide + t * 3 * width, keys, padded, room->places, length, model->alibi ? t : -1, model->self_scale,
                    room->weights, out + t * width);
}

/* The states of so many sentences; see `nmt_encode`. */
static void encode_some(const stack *model, const int64_t *tokens, const int64_t *lengths, long sentences, long longest,
                        const float *added, const float *turns, float *keys, workroom *room, float *out) {
    long width = model->width, rows = 0;
    for (long s = 0; s < sentences; s++)
        for (long t = 0; t < lengths[s]; t++, rows++)
            embed(model, tokens[s * longest + t], added ? added + t * width : NULL, room->states + rows * width);
    for (long number = 0; number < model->layers; number++) {
        const layer *one = model->layer + number;
        apply(&one->projection, before(model, &one->self_norm, room->states, rows, room->normed), rows, room->wide, room);
        for (long s = 0, first = 0; s < sentences; first += lengths[s++])
            attend_within(model, room->wide + first * 3 * width, turns, lengths[s], keys, room, room->context + first * width);
        apply(&one->self_output, room->context, rows, room->wide, room);
        add_update(model, &one->self_norm, room->states, room->wide, rows);
        feed_forward(model, one, rows, room);
    }
    for (long s = 0, row = 0; s < sentences; s++, out += longest * width) {
        for (long t = 0; t < lengths[s]; t++, row++) normalise(&model->last, room->states + row * width, width, out + t * width);
        memset(out + lengths[s] * width, 0, sizeof(float) * (longest - lengths[s]) * width);
    }
}

/* States (sentences, S, D) of the positions of each source, zero at padding.
 *
 * tokens: (sentences, S); lengths: (sentences) positions that count; added: (S, D) what positions add to embeddings, or NULL; turns:
 * (S, K) cosines and sines of each position, where they are rotary; room: see `nmt_encoder_room`.
 */
void nmt_encode(const stack *model, const int64_t *tokens, const int64_t *lengths, long sentences, long longest, const float *added,
                const float *turns, int threads, float *room, float *out) {
    long some = chunk_of(longest), chunks = (sentences + some - 1) / some, share = nmt_encoder_room(model, longest, 1);
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long chunk = part; chunk < chunks; chunk += threads) {
            long first = chunk * some, count = sentences - first < some ? sentences - first : some;
            workroom own;
            float *keys = furnish(model, some * longest, longest, room + part * share, &own);
            encode_some(model, tokens + first * longest, lengths + first, count, longest, added, turns, keys, &own,
                        out + first * longest * model->width);
        }
}

/* What each layer of the decoder attends to: keys (sentences, D, padded) and values (sentences, S, D) of states (sentences, S, D). */
void nmt_project_source(const stack *model, const float *states, const int64_t *lengths, long sentences, long longest, long padded,
                        int threads, float *room, float *const *keys, float *const *values) {
    long some = chunk_of(longest), chunks = (sentences + some - 1) / some, share = nmt_encoder_room(model, longest, 1);
    long width = model->width;
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long task = part; task < chunks * model->layers; task += threads) {
            long number = task / chunks, first = task % chunks * some, count = sentences - first < some ? sentences - first : some;
            workroom own;
            furnish(model, some * longest, longest, room + part * share, &own);
            apply(&model->layer[number].memory, states + first * longest * width, count * longest, own.wide, &own);
            for (long s = first; s < first + count; s++) {
                float *across = keys[number] + s * width * padded, *value = values[number] + s * longest * width;
                memset(across, 0, sizeof(float) * width * padded);
                for (long t = 0; t < lengths[s]; t++) {
                    const float *found = own.wide + ((s - first) * longest + t) * 2 * width;
                    lay_across(found, width, padded, t, across);
                    memcpy(value + t * width, found + width, sizeof(float) * width);
                }
            }
        }
}
