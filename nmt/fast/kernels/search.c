/* Beam search with a Transformer, some steps in one call: `nmt_transformer_step` to `nmt_settle`, and nothing in between. */
#include "search.h"

/* What a search remembers between two calls. Of two places for the same thing one is read and the other written, in turn.
 *
 * N sentences of the batch, B of them still searched, K beam, C extensions of a sentence, T tokens so far
 */
typedef struct {
    long sentences, beam, length, count; /* B, hypotheses of each at present, T, C */
    double *scores[2];                   /* (N, K) log-probabilities */
    int64_t *numbers[2];                 /* (N) which of all sentences */
    int64_t *history[2];                 /* (N * K, longest) what each has said */
    int32_t *past[2];                    /* (N * K, longest) see `nmt_transformer_step` */
    int64_t *rows, *tokens;              /* (N * K) the row that each goes on from, what each says last */
    float **steps;                       /* (longest) of each position keys and values; see `nmt_transformer_step` */
    int64_t *row_counts;                 /* (longest) */
    const float *added, *turns;          /* (longest, D), (longest, K of a head), or NULL */
    double *values;                      /* (N, C) the best extensions */
    int64_t *origins, *said;             /* (N, C) */
    uint8_t *flags;                      /* (N) */
    float *hidden, *logits, *room;       /* (N * K, D), (N * K, V), see `nmt_transformer_room` */
} searching;

/* Whether hypotheses of each sentence must end now; NULL: none must. */
static const uint8_t *at_limit(const finished *all, const searching *now) {
    int some = 0;
    for (long s = 0; s < now->sentences; s++)
        some |= now->flags[s] = all->limits[now->numbers[(now->length - 1) % 2][s]] == now->length;
    return some ? now->flags : NULL;
}

/* Runs at most `steps` steps, of which the keys and values are allocated. A sentence that is done leaves at once: nothing moves when
 * rows become fewer. Returns the sentences that are still searched; 0: all are done; -1: there is no memory. */
long nmt_search(const stack *model, const matrix *output, const sources *source, const finished *all, searching *now, long steps,
                long pad, long begin, int threads) {
    long size = model->width / model->heads, open = now->sentences;
    for (; steps > 0 && open > 0; steps--) {
        long length = ++now->length, last = length - 1, from = last % 2, to = length % 2, rows = now->sentences * now->beam;
        const float *added = now->added ? now->added + last * model->width : NULL, *turns = now->turns ? now->turns + last * size : NULL;
        now->row_counts[last] = rows;
        nmt_transformer_step(model, source, now->numbers[from], now->beam, now->tokens, added, turns, now->steps, now->row_counts,
                             now->past[from], now->rows, now->past[to], length, rows, threads, now->room, now->hidden);
        if (nmt_multiply(output, now->hidden, 0, rows, 0, threads, now->logits)) return -1;
        if (nmt_best_extensions(now->logits, 0, 0, now->scores[from], now->sentences, now->beam, output->outputs, now->count,
                                at_limit(all, now), pad, begin, all->end, threads, now->values, now->origins, now->said))
            return -1;
        extensions found = {now->sentences, now->beam, now->count, now->values, now->origins, now->said, now->numbers[from],
                            now->history[from]};
        hypotheses next = {now->scores[to], now->rows, now->tokens, now->numbers[to], now->history[to]};
        now->sentences = open = nmt_settle(all, &found, length, 1, now->flags, &next);
        now->beam = all->beam;
    }
    return open;
}
