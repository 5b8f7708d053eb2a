/* How one row of a recurrent decoder looks at the source of its sentence: scores, weights, mean. */
#pragma once
#include "recurrence.h"
#include "steps.h"

/* S source positions, H hidden, A width of what is scored, C width of a context, F of what matrices make of it */

/* Scores: PLACE is `location` of a recipe. */
enum { NOTHING = 0, ADDITIVE = 1, PRODUCT = 2, PLACE = 3 };
/* Weightings: NEAR_ORDER is `local_monotonic`, NEAR_GUESS `local_predictive`, HIGHEST `hard` and `gumbel`. */
enum { SOFTMAX = 0, SPARSEMAX = 1, NEAR_ORDER = 2, NEAR_GUESS = 3, HIGHEST = 4 };
typedef struct {
    int32_t score, weighting;
    long heads, width, window;
    float scale;
    matrix query;         /* (H) to (A); without outputs: the state itself */
    matrix guess;         /* (H) to (H) of the guessed centre */
    matrix context;       /* of several heads: contexts (C) to (F) */
    const float *combine; /* (A) of additive scores */
    const float *covering;/* (A) of coverage, or NULL */
    const float *towards; /* (H) of the guessed centre */
} looking;

/* The sources of a batch. */
typedef struct {
    long longest;
    const int64_t *lengths; /* (sentences) */
    const float *keys;      /* (sentences, S, A), of additive scores as e^2k */
    const float *values;    /* (sentences, S, F); of several heads (sentences, S, C) */
} rnn_sources;

/* max(0, score - threshold), which sum up to 1: what does not reach the threshold of what is left, leaves, until all do. If a
   score is infinite, all leave. In double precision the highest of the others is always above the threshold. */
static void sparse_weights(float *scores, long length) {
    double threshold = -INFINITY;
    for (long count = -1, before = 0; count != before;) {
        double total = 0;
        before = count, count = 0;
        for (long t = 0; t < length; t++)
            if (scores[t] > threshold) total += scores[t], count++;
        if (!count) break;
        threshold = (total - 1) / count;
    }
    for (long t = 0; t < length; t++) scores[t] = scores[t] > threshold ? scores[t] - threshold : 0;
}

static void highest_alone(float *scores, long length) {
    long best = 0;
    for (long t = 1; t < length; t++) best = scores[t] > scores[best] ? t : best;
    for (long t = 0; t < length; t++) scores[t] = t == best;
}

/* Scores become weights. guess: the share of the sentence around whose end is looked, if the centre is guessed. */
static void weigh(const looking *by, float *scores, long length, long position, float guess) {
    if (by->weighting == SPARSEMAX) sparse_weights(scores, length);
    if (by->weighting == HIGHEST) highest_alone(scores, length);
    if (by->weighting == SPARSEMAX || by->weighting == HIGHEST) return;
    float centre = by->weighting == NEAR_GUESS ? guess * (length - 1) : position < length ? position : length - 1;
    if (by->weighting != SOFTMAX)
        for (long t = 0; t < length; t++) scores[t] = fabsf(t - centre) > by->window ? -INFINITY : scores[t];
    soft_weights(scores, length);
    for (long t = 0; by->weighting == NEAR_GUESS && t < length; t++) {
        float far = (t - centre) * 2 / by->window;
        scores[t] *= expf(-far * far / 2);
    }
}

/* As `additive_scores`, of positions that have had so much attention. */
static void covered_scores(const looking *by, const float *query, const float *keys, const float *coverage, long length, float *scores) {
    for (long t = 0; t < length; t++) {
        floats total = {0};
        for (long i = 0; i < by->width; i += LANES) {
            floats power = load(query, i, 0) * load(keys, t * by->width + i, 0) * squared_power(coverage[t] * load(by->covering, i, 0));
            total += load(by->combine, i, 0) / (power + 1.0f);
        }
        scores[t] = -2 * sum(total);
    }
}

/* What one row sees of its source: out (F), or of several heads (C). Adds to the coverage, if there is any. */
static void look_once(const looking *by, const rnn_sources *s, long owner, long position, const float *query, float guess,
                      float *coverage, long width, float *scores, float *out) {
    long length = s->lengths[owner], part = by->width / by->heads, slice = width / by->heads;
    const float *values = s->values + owner * s->longest * width;
    const float *keys = by->score == PLACE ? NULL : s->keys + owner * s->longest * by->width;
    for (long head = 0; head < by->heads; head++) {
        if (coverage)
            covered_scores(by, query, keys, coverage, length, scores);
        else if (by->score == ADDITIVE)
            additive_scores(query, keys, by->combine, length, by->width, scores);
        else if (by->score == PRODUCT)
            product_scores(query + head * part, keys + head * part, by->width, length, part, by->scale, scores);
        else
            for (long t = 0; t < length; t++) scores[t] = query[t < by->width ? t : by->width - 1];
        weigh(by, scores, length, position, guess);
        for (long t = 0; coverage && t < length; t++) coverage[t] += scores[t];
        blend(scores, values + head * slice, width, length, slice, out + head * slice);
    }
}
