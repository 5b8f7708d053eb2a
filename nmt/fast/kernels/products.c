/* Products of rows with matrices that lie in tiles; see products.h. */
#include "products.h"

/* Outputs whose weights lie together, and inputs of an output that do, of bfloat16 and of integers. */
long nmt_tile(void) { return TILE; }
long nmt_half_inner(void) { return HALF_INNER; }
long nmt_inner(void) { return INNER; }

/* Rows (rows, width) as integers with a scale each; see `quantise`. `zero` is 128, or 0 for numbers of which none is negative. */
void nmt_quantise(const void *states, long rows, long width, int zero, int half, uint8_t *integers, float *scales) {
    for (long row = 0; row < rows; row++)
        scales[row] = half ? quantise(states, row * width, width, zero, zero, 1, 1, integers + row * width)
                           : quantise(states, row * width, width, zero, zero, 0, 1, integers + row * width);
}

/* Products of such integers as numbers: scale * product + bias, cut off at zero if `relu`; in place where `out` is `product`. */
void nmt_rescale(const float *product, const float *scales, const float *bias, long rows, long width, int relu, int half,
                 void *out) {
    for (long row = 0; row < rows; row++) {
        long first = row * width, i = 0;
        for (; i + LANES <= width; i += LANES) {
            floats values = load(product, first + i, 0) * scales[row] + load(bias, i, 0);
            store(out, first + i, relu ? larger(values, all(0)) : values, half);
        }
        for (; i < width; i++) {
            float value = product[first + i] * scales[row] + bias[i];
            store_one(out, first + i, relu && value < 0 ? 0 : value, half);
        }
    }
}

/* y = x W + b, cut off at zero if the layer says so.
 *
 * states: (rows, inputs) and out: (rows, outputs), in bfloat16 where `half` and `half_out` are set, else float; sums are float, or
 * exact for weights in bytes. The threads share the outputs. Returns 0, or 1 if there is no memory.
 */
int nmt_multiply(const matrix *layer, const void *states, int half, long rows, int half_out, int threads, void *out) {
    int as_they_are = takes_floats(layer) && !half;
    void *prepared = as_they_are ? NULL : malloc(sizeof(float) * (rows * whole_inputs(layer) + 1));
    float *own = malloc(sizeof(float) * (rows + 1));
    int failed = (!as_they_are && !prepared) || !own;
    if (!failed && !as_they_are) prepare(layer, states, half, rows, prepared, own);
    if (rows * layer->inputs * layer->outputs < 100000) threads = 1; /* sharing takes longer than the work */
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        long from = part_of(layer->outputs, part, threads), to = part_of(layer->outputs, part + 1, threads);
        if (!failed) multiply_all(layer, as_they_are ? states : prepared, own, rows, from, to, half_out, out);
    }
    free(prepared), free(own);
    return failed;
}
