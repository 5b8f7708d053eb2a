/* One step of a Transformer's decoder: all layers, for the newest position of each row, in one call.
 *
 * Rows are hypotheses; those of a sentence stand together. What a step has projected stays where it was computed: a row knows by
 * numbers which rows of earlier steps are its past. Threads share the rows. A row is computed by itself, in the same order wherever
 * it stands and whoever computes it.
 */
#include "search.h"

/* Attention of a row's newest position to its past. keys: of each position the place of its keys, D before its values. */
static void attend_to_past(const stack *model, const float *query, const float *const *keys, long length, float *weights,
                           float *out) {
    long width = model->width, size = width / model->heads;
    for (long head = 0; head < model->heads; head++) {
        const float *own = query + head * size;
        for (long t = 0; t < length; t += 4) {
            const float *some[4];
            for (long k = 0; k < 4; k++) some[k] = keys[t + k < length ? t + k : length - 1] + head * size;
            floats one = {0}, two = {0}, three = {0}, four = {0};
            for (long i = 0; i < size; i += LANES) {
                floats part = load(own, i, 0);
                one += part * load(some[0], i, 0), two += part * load(some[1], i, 0);
                three += part * load(some[2], i, 0), four += part * load(some[3], i, 0);
            }
            floats4 found = sums(one, two, three, four) * model->self_scale;
            memcpy(weights + t, &found, sizeof found);
        }
        if (model->alibi) keep_near(model, head, length - 1, length, weights);
        float share = powers(weights, length);
        mix(weights, keys, width + head * size, length, size, share, out + head * size);
    }
}

/* Attention of a row to the source of its sentence. */
static void attend_to_source(const stack *model, const sources *all_sources, long number, long sentence, const float *query,
                             workroom *room, float *out) {
    long width = model->width, padded = all_sources->padded, length = all_sources->lengths[sentence];
    const float *values = all_sources->values[number] + sentence * all_sources->longest * width;
    for (long t = 0; t < length; t++) room->places[t] = values + t * width;
    attend_over(model, query, all_sources->keys[number] + sentence * width * padded, padded, room->places, length, -1,
                model->cross_scale, room->weights, out);
}

/* The rows `first` to `first + rows`; see `nmt_transformer_step`. */
static void step_rows(const stack *model, const sources *source, const int64_t *owners, long beam, const int64_t *tokens,
                      const float *added, const float *turns, float *const *steps, const int64_t *row_counts, const int32_t *past,
                      long length, long first, long rows, workroom *room, float *out) {
    long width = model->width, newest = row_counts[length - 1];
    for (long row = 0; row < rows; row++) embed(model, tokens[first + row], added, room->states + row * width);
    for (long number = 0; number < model->layers; number++) {
        const layer *one = model->layer + number;
        apply(&one->projection, before(model, &one->self_norm, room->states, rows, room->normed), rows, room->wide, room);
        for (long row = 0; row < rows; row++) {
            float *query = room->wide + row * 3 * width, *kept = steps[length - 1] + (number * newest + first + row) * 2 * width;
            if (model->rotary) rotate(model, turns, query), rotate(model, turns, query + width);
            memcpy(kept, query + width, sizeof(float) * 2 * width);
            const int32_t *own = past + (first + row) * length;
            for (long t = 0; t < length; t++) room->places[t] = steps[t] + (number * row_counts[t] + own[t]) * 2 * width;
            attend_to_past(model, query, room->places, length, room->weights, room->context + row * width);
        }
        apply(&one->self_output, room->context, rows, room->wide, room);
        add_update(model, &one->self_norm, room->states, room->wide, rows);
        apply(&one->query, before(model, &one->cross_norm, room->states, rows, room->normed), rows, room->wide, room);
        for (long row = 0; row < rows; row++)
            attend_to_source(model, source, number, owners[(first + row) / beam], room->wide + row * width, room,
                             room->context + row * width);
        apply(&one->cross_output, room->context, rows, room->wide, room);
        add_update(model, &one->cross_norm, room->states, room->wide, rows);
        feed_forward(model, one, rows, room);
    }
    for (long row = 0; row < rows; row++) normalise(&model->last, room->states + row * width, width, out + (first + row) * width);
}

long nmt_transformer_room(const stack *model, long rows, long longest, long threads) {
    return threads * room_of(model, (rows + threads - 1) / threads, longest);
}

/* Hidden states (rows, D), ready for the output layer, after the last token of each row.
 *
 * owners: (rows / beam) which of the sources is a sentence's; tokens: (rows); added: (D) what this position adds to embeddings, or
 * NULL; turns: see `rotate`; steps: of each position the keys and values (layers, rows of that step, 2 D), the newest to be filled;
 * row_counts: (T) rows of each step; earlier: (rows before, T - 1) which row of each step was a row's own, and origins: (rows) which
 * row each one goes on from; past: (rows, T), to be filled with theirs; room: see `nmt_transformer_room`.
 */
void nmt_transformer_step(const stack *model, const sources *source, const int64_t *owners, long beam, const int64_t *tokens,
                          const float *added, const float *turns, float *const *steps, const int64_t *row_counts, const int32_t *earlier,
                          const int64_t *origins, int32_t *past, long length, long rows, int threads, float *room, float *out) {
    for (long row = 0; row < rows; row++) {
        if (length > 1) memcpy(past + row * length, earlier + origins[row] * (length - 1), sizeof *past * (length - 1));
        past[row * length + length - 1] = row;
    }
    long share = (rows + threads - 1) / threads, longest = length > source->longest ? length : source->longest;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        long first = part * share, count = rows - first < share ? rows - first : share;
        workroom own;
        furnish(model, share, longest, room + part * room_of(model, share, longest), &own);
        if (count > 0)
            step_rows(model, source, owners, beam, tokens, added, turns, steps, row_counts, past, length, first, count, &own, out);
    }
}
