/* What stands between the products of a Transformer that is trained, in one pass each way.
 *
 * Rows are the words of a batch, without padding. Numbers are float, but those that products read or write are bfloat16 where `half`
 * is set. Threads share blocks of rows; sums over rows are those of the blocks, one after the other, whoever computes them.
 */
#include "dropout.h"
#include "vectors.h"

enum { TOGETHER = 256 }; /* rows whose sums are taken together */

/* Layer (or RMS) normalisation. */
typedef struct {
    int32_t centred; /* LayerNorm: the mean is taken off, and `bias` is added */
    float epsilon;
    const float *weight, *bias; /* (width) */
} normalisation;

long nmt_blocks(long rows) { return (rows + TOGETHER - 1) / TOGETHER; }

INLINE void add_row(const float *stream, const void *update, const float *bias, int half, long row, long width, dropout thinned,
                    float *total) {
    for (long i = 0; i < width; i += LANES) {
        long place = row * width + i;
        floats value = thin(load(update, place, half) + load(bias, i, 0), place, thinned);
        store(total, place, load(stream, place, 0) + value, 0);
    }
}

/* Mean and inverse of the standard deviation (or of the root of the mean square) of a row. */
INLINE void measure(const normalisation *by, const float *row, long width, float *mean, float *scale) {
    floats total = {0}, square = {0};
    *mean = 0;
    if (by->centred) {
        for (long i = 0; i < width; i += LANES) total += load(row, i, 0);
        *mean = sum(total) / width;
    }
    for (long i = 0; i < width; i += LANES) {
        floats apart = load(row, i, 0) - *mean;
        square += apart * apart;
    }
    *scale = 1 / sqrtf(sum(square) / width + by->epsilon);
}

/* total = stream + dropout(update + bias), and its normalisation: in float in `normed`, and for products in `read`, each unless NULL.
 *
 * Without an update the total is the stream. measures: (rows, 2) mean and scale of each row, for the way back. All others (rows,
 * width); width is a multiple of LANES.
 */
void nmt_residual(const float *stream, const void *update, const float *bias, int half, long rows, long width, uint64_t key, float rate,
                  const normalisation *by, float *total, float *normed, void *read, float *measures, int threads) {
    dropout thinned = dropout_of(key, rate);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long block = 0; block < rows; block += TOGETHER)
        for (long row = block; row < rows && row < block + TOGETHER; row++) {
            if (update && half) add_row(stream, update, bias, 1, row, width, thinned, total);
            if (update && !half) add_row(stream, update, bias, 0, row, width, thinned, total);
            const float *own = (update ? total : stream) + row * width;
            float mean, scale;
            measure(by, own, width, &mean, &scale);
            measures[2 * row] = mean, measures[2 * row + 1] = scale;
            for (long i = 0; i < width; i += LANES) {
                floats value = (load(own, i, 0) - mean) * scale * load(by->weight, i, 0);
                if (by->centred) value += load(by->bias, i, 0);
                if (normed) store(normed, row * width + i, value, 0);
                if (read) store(read, row * width + i, value, half);
            }
        }
}

/* Gradients of a block of rows: see below. sums: (3, width) of bias, of the weight and of the bias of the norm. */
INLINE void residual_back(const void *d_read, const float *d_normed, const float *d_total, int half, long first, long last, long width,
                          dropout thinned, const normalisation *by, const float *total, const float *measures, float *d_stream,
                          void *d_update, float *sums) {
    for (long row = first; row < last; row++) {
        float mean = measures[2 * row], scale = measures[2 * row + 1];
        floats plain = {0}, along = {0};
        for (long i = 0; i < width; i += LANES) {
            long place = row * width + i;
            floats gradient = {0}, x = (load(total, place, 0) - mean) * scale;
            if (d_read) gradient += load(d_read, place, half);
            if (d_normed) gradient += load(d_normed, place, 0);
            store(sums, width + i, load(sums, width + i, 0) + gradient * x, 0);
            store(sums, 2 * width + i, load(sums, 2 * width + i, 0) + gradient, 0);
            gradient *= load(by->weight, i, 0);
            store(d_stream, place, gradient, 0);
            plain += gradient, along += gradient * x;
        }
        float shift = by->centred ? sum(plain) / width : 0, tilt = sum(along) / width;
        for (long i = 0; i < width; i += LANES) {
            long place = row * width + i;
            floats x = (load(total, place, 0) - mean) * scale;
            floats gradient = (load(d_stream, place, 0) - shift - x * tilt) * scale;
            if (d_total) gradient += load(d_total, place, 0);
            store(d_stream, place, gradient, 0);
            if (d_update) {
                gradient = thin(gradient, place, thinned);
                store(d_update, place, gradient, half);
                store(sums, i, load(sums, i, 0) + gradient, 0);
            }
        }
    }
}

/* The way back: gradients of stream and update (NULL: there was none) from those of `read`, `normed` and `total`, each unless NULL.
 *
 * sums: (blocks, 3, width), zero: parts of the gradients of bias, weight and bias of the norm.
 */
void nmt_residual_back(const void *d_read, const float *d_normed, const float *d_total, int half, long rows, long width, uint64_t key,
                       float rate, const normalisation *by, const float *total, const float *measures, float *d_stream, void *d_update,
                       float *sums, int threads) {
    dropout thinned = dropout_of(key, rate);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long block = 0; block < nmt_blocks(rows); block++) {
        long first = block * TOGETHER, last = first + TOGETHER < rows ? first + TOGETHER : rows;
        float *own = sums + 3 * block * width;
        if (half)
            residual_back(d_read, d_normed, d_total, 1, first, last, width, thinned, by, total, measures, d_stream, d_update, own);
        else
            residual_back(d_read, d_normed, d_total, 0, first, last, width, thinned, by, total, measures, d_stream, d_update, own);
    }
}

INLINE void activate_row(void *states, const float *bias, int half, long row, long width, dropout thinned) {
    for (long i = 0; i < width; i += LANES) {
        long place = row * width + i;
        floats value = larger(load(states, place, half) + load(bias, i, 0), all(0));
        store(states, place, thin(value, place, thinned), half);
    }
}

/* states (rows, width) become dropout(max(0, states + bias)). */
void nmt_activate(void *states, const float *bias, int half, long rows, long width, uint64_t key, float rate, int threads) {
    dropout thinned = dropout_of(key, rate);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++)
        if (half)
            activate_row(states, bias, 1, row, width, thinned);
        else
            activate_row(states, bias, 0, row, width, thinned);
}

INLINE void activate_back(const void *activated, const void *gradients, int half, long first, long last, long width, float scale,
                          void *out, float *sums) {
    for (long row = first; row < last; row++)
        for (long i = 0; i < width; i += LANES) {
            long place = row * width + i;
            ints passed = load(activated, place, half) > all(0);
            floats gradient = (floats)((ints)(load(gradients, place, half) * scale) & passed);
            store(out, place, gradient, half);
            store(sums, i, load(sums, i, 0) + gradient, 0);
        }
}

/* The way back from what was activated; sums: (blocks, width), zero: parts of the gradient of the bias. */
void nmt_activate_back(const void *activated, const void *gradients, int half, long rows, long width, float rate, void *out, float *sums,
                       int threads) {
    float scale = dropout_of(0, rate).scale;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long block = 0; block < nmt_blocks(rows); block++) {
        long first = block * TOGETHER, last = first + TOGETHER < rows ? first + TOGETHER : rows;
        float *own = sums + block * width;
        if (half)
            activate_back(activated, gradients, 1, first, last, width, scale, out, own);
        else
            activate_back(activated, gradients, 0, first, last, width, scale, out, own);
    }
}

/* out (rows, width) = dropout(gain * embedding + what the place adds). table: (V, width); added: (places, width), or NULL. */
void nmt_embed(const float *table, const int64_t *tokens, const float *added, const int64_t *places, long rows, long width, float gain,
               uint64_t key, float rate, float *out, int threads) {
    dropout thinned = dropout_of(key, rate);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++)
        for (long i = 0; i < width; i += LANES) {
            floats value = load(table, tokens[row] * width + i, 0) * gain;
            if (added) value += load(added, places[row] * width + i, 0);
            store(out, row * width + i, thin(value, row * width + i, thinned), 0);
        }
}

/* Adds gradients (rows, width) to those of the table (V, width). Threads share the columns. */
void nmt_embed_back(const float *gradients, const int64_t *tokens, long rows, long width, float gain, uint64_t key, float rate,
                    float *table, int threads) {
    dropout thinned = dropout_of(key, rate);
    long share = (width / LANES + threads - 1) / threads * LANES;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long from = 0; from < width; from += share)
        for (long row = 0; row < rows; row++)
            for (long i = from; i < width && i < from + share; i += LANES) {
                long place = row * width + i, to = tokens[row] * width + i;
                store(table, to, load(table, to, 0) + gain * thin(load(gradients, place, 0), place, thinned), 0);
            }
}
