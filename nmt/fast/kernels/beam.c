/* What beam search does with the best extensions of a step, in one pass: what ends is finished, the best others go on.
 *
 * N sentences of the batch, B of them still searched, K beam, C extensions of a sentence, T tokens so far (this one counted)
 */
#include "search.h"

/* Puts a hypothesis among the finished ones of its sentence, behind those that are as good. */
static void finish(const finished *all, long number, double value, double score, const int64_t *said, long length, int cut) {
    long first = number * all->beam, rank = all->beam;
    while (rank > 0 && score > all->scores[first + rank - 1]) rank--;
    if (rank == all->beam) return;
    for (long place = first + all->beam - 1; place > first + rank; place--) {
        all->scores[place] = all->scores[place - 1], all->log_probabilities[place] = all->log_probabilities[place - 1];
        all->lengths[place] = all->lengths[place - 1], all->cut[place] = all->cut[place - 1];
        memcpy(all->tokens + place * all->longest, all->tokens + (place - 1) * all->longest, sizeof(int64_t) * all->longest);
    }
    long place = first + rank;
    all->scores[place] = score, all->log_probabilities[place] = value, all->lengths[place] = length, all->cut[place] = cut;
    memcpy(all->tokens + place * all->longest, said, sizeof(int64_t) * (length - 1));
}

/* Whether extension k of a sentence ends. */
static inline int ends(const finished *all, const extensions *from, long sentence, long k) {
    long place = sentence * from->count + k;
    return from->tokens[place] == all->end && from->values[place] > -INFINITY;
}

/* The K that go on of one sentence, in their order: those that are alive, then what is left. */
static void choose(const finished *all, const extensions *from, long sentence, long length, long to, const hypotheses *next) {
    long found = 0, first = sentence * from->count;
    for (int alive = 1; alive >= 0; alive--)
        for (long k = 0; k < from->count && found < all->beam; k++) {
            int lives = from->values[first + k] > -INFINITY && !ends(all, from, sentence, k);
            if (lives != alive) continue;
            long place = to * all->beam + found++, row = sentence * from->beam + from->origins[first + k];
            next->scores[place] = lives ? from->values[first + k] : -INFINITY;
            next->rows[place] = row, next->tokens[place] = from->tokens[first + k];
            memcpy(next->history + place * length, from->history + row * (length - 1), sizeof(int64_t) * (length - 1));
            next->history[place * length + length - 1] = from->tokens[first + k];
        }
}

/* The best log-probability of what is alive, -inf if nothing is. */
static double best_alive(const finished *all, const extensions *from, long sentence) {
    for (long k = 0; k < from->count; k++)
        if (!ends(all, from, sentence, k)) return from->values[sentence * from->count + k];
    return -INFINITY;
}

/* Whether a sentence is done. */
static int closes(const finished *all, const extensions *from, long sentence) {
    const double *scores = all->scores + from->numbers[sentence] * all->beam;
    if (all->by_count) return scores[all->beam - 1] > -INFINITY;
    return scores[all->best - 1] >= best_alive(all, from, sentence) / all->divisors[all->limits[from->numbers[sentence]]];
}

/* Finishes what ends among the first K extensions, chooses the K that go on, closes the sentences that are done.
 *
 * Closed sentences leave once at most `worth` of all are open; before that they stay, with nothing alive. Of the extensions at
 * least K are there (C >= K). Returns the sentences that go on; 0: all are done. closed: room for (B).
 */
long nmt_settle(const finished *all, const extensions *from, long length, double worth, uint8_t *closed, const hypotheses *next) {
    long open = 0, to = 0;
    for (long sentence = 0; sentence < from->sentences; sentence++) {
        long first = sentence * from->count, number = from->numbers[sentence];
        for (long k = 0; k < all->beam && k < from->count; k++) {
            if (!ends(all, from, sentence, k)) continue;
            double value = from->values[first + k];
            const int64_t *said = from->history + (sentence * from->beam + from->origins[first + k]) * (length - 1);
            finish(all, number, value, value / all->divisors[length], said, length, all->limits[number] == length);
        }
        closed[sentence] = closes(all, from, sentence);
        open += !closed[sentence];
    }
    int leave = open <= worth * from->sentences;
    for (long sentence = 0; open && sentence < from->sentences; sentence++) {
        if (leave && closed[sentence]) continue;
        choose(all, from, sentence, length, to, next);
        for (long k = 0; closed[sentence] && k < all->beam; k++) next->scores[to * all->beam + k] = -INFINITY;
        next->numbers[to++] = from->numbers[sentence];
    }
    return to;
}
