/* What a step of search on a CPU does in many small operations, in one pass each.
 *
 * Every row is computed by itself, in the same order wherever it stands, so that results do not depend on the batch.
 * Sums are float, totals double.
 */
#include "search.h"

enum { BLOCK = 4 * LANES };

/* The maximum of each block of a row, and of the row. */
static inline float maxima_of(const void *row, long size, int half, float *maxima) {
    float highest = -INFINITY;
    for (long first = 0, block = 0; first < size; first += BLOCK, block++) {
        float found = -INFINITY;
        if (first + BLOCK <= size) {
            floats one = larger(load(row, first, half), load(row, first + LANES, half));
            floats two = larger(load(row, first + 2 * LANES, half), load(row, first + 3 * LANES, half));
            found = largest(larger(one, two));
        } else {
            for (long place = first; place < size; place++) {
                float value = load_one(row, place, half);
                found = value > found ? value : found;
            }
        }
        maxima[block] = found;
        highest = found > highest ? found : highest;
    }
    return highest;
}

/* log sum_i e^x_i */
static inline double log_sum_exp(const void *row, long size, int half, float highest) {
    double total = 0;
    long place = 0;
    while (place + LANES <= size) {
        long end = place + 64 * LANES < size ? place + 64 * LANES : size;
        floats some = {0};
        for (; place + LANES <= end; place += LANES) some += exponential(load(row, place, half) - highest);
        total += sum(some);
    }
    for (; place < size; place++) total += exp(load_one(row, place, half) - highest);
    return highest + log(total);
}

/* The best extensions of one sentence; see `nmt_best_extensions`. logits: of its rows; maxima: room for those of the blocks. */
static void extend_best(const char *logits, int half, int normalised, const double *scores, long beam, long size, long count,
                        int must_end, long pad, long begin, long end, float *maxima, double *best, int64_t *from, int64_t *said) {
    for (long rank = 0; rank < count; rank++) best[rank] = -INFINITY, from[rank] = 0, said[rank] = 0;
    for (long hypothesis = 0; hypothesis < beam; hypothesis++) {
        double score = scores[hypothesis];
        if (score == -INFINITY) continue;
        const char *row = logits + hypothesis * size * (half ? 2 : 4);
        float highest = half ? maxima_of(row, size, 1, maxima) : maxima_of(row, size, 0, maxima);
        if (highest == -INFINITY) continue;
        if (!normalised)
            score -= half ? log_sum_exp(row, size, 1, highest) : log_sum_exp(row, size, 0, highest);
        for (long first = 0, block = 0; first < size; first += BLOCK, block++) {
            if (!(score + maxima[block] > best[count - 1])) continue;
            long last = first + BLOCK < size ? first + BLOCK : size;
            for (long token = first; token < last; token++) {
                double value = score + load_one(row, token, half);
                if (!(value > best[count - 1]) || token == pad || token == begin) continue;
                if (must_end && token != end) continue;
                long rank = count - 1;
                for (; rank > 0 && value > best[rank - 1]; rank--)
                    best[rank] = best[rank - 1], from[rank] = from[rank - 1], said[rank] = said[rank - 1];
                best[rank] = value, from[rank] = hypothesis, said[rank] = token;
            }
        }
    }
}

/* The `count` best extensions of each sentence, best first: values, hypotheses and tokens (sentences, count).
 *
 * scores: (sentences, beam) log-probabilities so far; logits: (sentences * beam, size), or log-probabilities if
 * `normalised`. `pad` and `begin` are never said; where `ending` (sentences) is not 0, `end` alone is. Of equal ones the
 * first counts. What is missing has the value -inf. Returns 0, or 1 if there is no memory.
 */
int nmt_best_extensions(const void *logits, int half, int normalised, const double *scores, long sentences, long beam, long size,
                        long count, const uint8_t *ending, long pad, long begin, long end, int threads, double *values,
                        int64_t *origins, int64_t *tokens) {
    long blocks = size / BLOCK + 1;
    float *maxima = malloc(sizeof(float) * threads * blocks);
    if (!maxima) return 1;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long sentence = part; sentence < sentences; sentence += threads)
            extend_best((const char *)logits + sentence * beam * size * (half ? 2 : 4), half, normalised, scores + sentence * beam, beam,
                        size, count, ending && ending[sentence], pad, begin, end, maxima + part * blocks, values + sentence * count,
                        origins + sentence * count, tokens + sentence * count);
    free(maxima);
    return 0;
}
