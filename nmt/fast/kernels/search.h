/* What search hands from step to step, and the functions that do a step. */
#pragma once
#include "layers.h"

/* The sources of a batch. */
typedef struct {
    long longest, padded;       /* positions, and the next multiple of LANES */
    const int64_t *lengths;     /* (sentences) positions that count */
    const float *const *keys;   /* of each layer (sentences, D, padded) */
    const float *const *values; /* of each layer (sentences, S, D) */
} sources;

/* The finished hypotheses, best first, and how search was asked to treat them. */
typedef struct {
    long beam, longest, best;
    int32_t by_count;          /* a sentence is done when a beam has ended; else when nothing in reach beats the best ones */
    int64_t end;               /* the token that ends a hypothesis */
    const int64_t *limits;     /* (N) longest translation in tokens */
    const double *divisors;    /* (longest + 1) length penalty, by length */
    double *scores;            /* (N, K) normalised; -inf where there is none */
    double *log_probabilities; /* (N, K) */
    int64_t *tokens;           /* (N, K, longest) */
    int64_t *lengths;          /* (N, K) */
    uint8_t *cut;              /* (N, K) whether the end was forced */
} finished;

/* The best extensions of a step, best first; rows are counted within a sentence. */
typedef struct {
    long sentences, beam, count;
    const double *values;           /* (B, C) log-probabilities */
    const int64_t *origins, *tokens; /* (B, C) */
    const int64_t *numbers;         /* (B) which of all sentences */
    const int64_t *history;         /* (B * beam, T - 1) */
} extensions;

/* What goes on. */
typedef struct {
    double *scores;                   /* (B, K) */
    int64_t *rows, *tokens, *numbers; /* (B * K), (B * K), (B) */
    int64_t *history;                 /* (B * K, T) */
} hypotheses;

/* See the definitions. */
long nmt_transformer_room(const stack *model, long rows, long longest, long threads);
void nmt_transformer_step(const stack *model, const sources *source, const int64_t *owners, long beam, const int64_t *tokens,
                          const float *added, const float *turns, float *const *steps, const int64_t *row_counts, const int32_t *earlier,
                          const int64_t *origins, int32_t *past, long length, long rows, int threads, float *room, float *out);
int nmt_multiply(const matrix *layer, const void *states, int half, long rows, int half_out, int threads, void *out);
int nmt_best_extensions(const void *logits, int half, int normalised, const double *scores, long sentences, long beam, long size,
                        long count, const uint8_t *ending, long pad, long begin, long end, int threads, double *values,
                        int64_t *origins, int64_t *tokens);
long nmt_settle(const finished *all, const extensions *from, long length, double worth, uint8_t *closed, const hypotheses *next);
