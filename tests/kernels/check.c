/* Checks the kernels against plain loops in double precision, over random shapes. usage: check SEED ROUNDS
 *
 * A program of its own, so that sanitizers see every access, and an emulator runs it for a CPU that is not here.
 */
#include "../../nmt/kernels/decoding.c"
#include "../../nmt/kernels/loss.c"
#include "../../nmt/kernels/products.c"
#include <stdio.h>

static uint64_t chance;
static long checks;

static uint32_t draw(void) {
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return chance >> 33;
}
static long between(long low, long high) { return low + draw() % (high - low + 1); }
static float number(void) { return (float)draw() / (1u << 30) - 1; } /* in [-1, 1) */

static void *room(size_t bytes) {
    void *found = malloc(bytes ? bytes : 1);
    if (!found) exit(3);
    return found;
}

/* Numbers as float or bfloat16, and what they are in double precision. */
static void *numbers(long count, int half, double scale, double **exact) {
    void *made = room(count * (half ? 2 : 4));
    *exact = room(count * sizeof(double));
    for (long i = 0; i < count; i++) {
        store_one(made, i, number() * scale, half);
        (*exact)[i] = load_one(made, i, half);
    }
    return made;
}

static void close_to(double found, double expected, double tolerance, const char *what) {
    checks++;
    if (fabs(found - expected) <= tolerance * (1 + fabs(expected))) return;
    fprintf(stderr, "%s: %g where %g is expected\n", what, found, expected);
    exit(1);
}

static void check_numbers(long rows, long inputs, long outputs, int half) {
    double *x, *w;
    void *states = numbers(rows * inputs, half, 1, &x), *plain = numbers(outputs * inputs, half, 1, &w);
    long whole = (outputs + TILE - 1) / TILE * TILE;
    char *tiles = calloc(whole * inputs + 1, half ? 2 : 4);
    float *bias = calloc(whole + 1, sizeof *bias);
    for (long o = 0; o < outputs; o++) {
        bias[o] = number();
        for (long i = 0; i < inputs; i++)
            store_one(tiles, (o / TILE * inputs + i) * TILE + o % TILE, load_one(plain, o * inputs + i, half), half);
    }
    void *out = room(rows * outputs * (half ? 2 : 4));
    int relu = draw() % 2;
    if (nmt_multiply(states, half, rows, inputs, tiles, bias, outputs, relu, out)) exit(3);
    for (long k = 0; k < 200; k++) {
        long r = between(0, rows - 1), o = between(0, outputs - 1);
        double sum = bias[o];
        for (long i = 0; i < inputs; i++) sum += x[r * inputs + i] * w[o * inputs + i];
        close_to(load_one(out, r * outputs + o, half), relu && sum < 0 ? 0 : sum, half ? 2e-2 : 1e-3, "product");
    }
    free(states), free(plain), free(tiles), free(bias), free(out), free(x), free(w);
}

static void check_integers(long rows, long width, long outputs, int half, int extreme) {
    double *x;
    void *states = numbers(rows * width, half, 3, &x);
    int zero = draw() % 2 ? 128 : 0;
    for (long i = 0; i < rows * width; i++) {
        float value = extreme ? 3 : load_one(states, i, half);
        store_one(states, i, zero ? value : fabsf(value), half);
    }
    long whole = (outputs + TILE - 1) / TILE * TILE, inputs = (width + INNER - 1) / INNER * INNER;
    int8_t *tiles = calloc(whole * inputs + 1, 1), *w = room(outputs * width);
    float *scales = calloc(whole + 1, sizeof *scales), *bias = calloc(whole + 1, sizeof *bias);
    int32_t *sums = calloc(whole + 1, sizeof *sums);
    for (long o = 0; o < outputs; o++) {
        scales[o] = 0.01f * (1 + o % 7), bias[o] = number();
        for (long i = 0; i < width; i++) {
            int8_t weight = extreme ? (o % 2 ? 127 : -127) : (int8_t)between(-127, 127);
            w[o * width + i] = weight, sums[o] += weight;
            tiles[(o / TILE * (inputs / INNER) + i / INNER) * TILE * INNER + o % TILE * INNER + i % INNER] = weight;
        }
    }
    uint8_t *bytes = room(rows * width);
    float *own = room(rows * sizeof *own), *out = room(rows * outputs * sizeof *out);
    nmt_quantise(states, rows, width, zero, half, bytes, own);
    if (nmt_multiply_integers(states, half, rows, width, zero, tiles, scales, sums, bias, outputs, 0, 0, out)) exit(3);
    for (long k = 0; k < 200; k++) {
        long r = between(0, rows - 1), o = between(0, outputs - 1), sum = 0;
        for (long i = 0; i < width; i++) sum += (bytes[r * width + i] - zero) * w[o * width + i];
        close_to(out[r * outputs + o], (double)sum * scales[o] * own[r] + bias[o], 1e-5, "product of integers");
    }
    free(states), free(x), free(tiles), free(w), free(scales), free(bias), free(sums), free(bytes), free(own), free(out);
}

/* softmax(q K^T scale) V of one head in double precision. */
static void attended(const double *query, double *const *keys, long length, long size, double scale, double *out) {
    double *weights = room(length * sizeof *weights), highest = -1e300, total = 0;
    for (long t = 0; t < length; t++) {
        weights[t] = 0;
        for (long i = 0; i < size; i++) weights[t] += query[i] * scale * keys[t][i];
        highest = weights[t] > highest ? weights[t] : highest;
    }
    for (long t = 0; t < length; t++) total += weights[t] = exp(weights[t] - highest);
    for (long i = 0; i < size; i++) {
        out[i] = 0;
        for (long t = 0; t < length; t++) out[i] += weights[t] / total * keys[2 * length + t][i];
    }
    free(weights);
}

static void check_past(long rows, long length, long heads, long size, int half) {
    long width = heads * size, step_rows = rows + 2;
    const char **steps = room(length * sizeof *steps);
    double **exact = room(length * sizeof *exact);
    int32_t *past = room(rows * length * sizeof *past);
    for (long t = 0; t < length; t++) {
        steps[t] = numbers(step_rows * 3 * width, half, 2, &exact[t]);
        for (long r = 0; r < rows; r++) past[r * length + t] = t + 1 < length ? between(0, step_rows - 1) : r;
    }
    void *out = room(rows * width * (half ? 2 : 4));
    if (nmt_attend_past(steps, past, rows, length, width, heads, 0.3f, half, out)) exit(3);
    double **keys = room(3 * length * sizeof *keys), *expected = room(size * sizeof *expected);
    for (long k = 0; k < 20; k++) {
        long r = between(0, rows - 1), h = between(0, heads - 1);
        for (long t = 0; t < length; t++) {
            keys[t] = exact[t] + (past[r * length + t] * 3 + 1) * width + h * size;
            keys[2 * length + t] = keys[t] + width;
        }
        attended(exact[length - 1] + r * 3 * width + h * size, keys, length, size, 0.3, expected);
        for (long i = 0; i < size; i++)
            close_to(load_one(out, r * width + h * size + i, half), expected[i], half ? 2e-2 : 1e-4, "attention");
    }
    for (long t = 0; t < length; t++) free((void *)steps[t]), free(exact[t]);
    free(steps), free(exact), free(past), free(out), free(keys), free(expected);
}

static void check_extensions(long sentences, long beam, long size, long count, int half) {
    double *exact, *scores = room(sentences * beam * sizeof *scores), *values = room(sentences * count * sizeof *values);
    void *logits = numbers(sentences * beam * size, half, 4, &exact);
    int64_t *origins = room(sentences * count * 8), *tokens = room(sentences * count * 8);
    for (long i = 0; i < sentences * beam; i++) scores[i] = draw() % 5 ? number() : -INFINITY;
    if (nmt_best_extensions(logits, half, 0, scores, sentences, beam, size, count, NULL, 0, 2, 3, values, origins, tokens)) exit(3);
    for (long b = 0; b < sentences; b++)
        for (long k = 0; k < count; k++) {
            double value = values[b * count + k];
            if (value == -INFINITY) continue;
            long row = b * beam + origins[b * count + k], token = tokens[b * count + k];
            double total = 0, highest = -1e300;
            for (long i = 0; i < size; i++) highest = exact[row * size + i] > highest ? exact[row * size + i] : highest;
            for (long i = 0; i < size; i++) total += exp(exact[row * size + i] - highest);
            close_to(value, scores[row] + exact[row * size + token] - highest - log(total), 1e-4, "extension");
            if (k) close_to(value <= values[b * count + k - 1], 1, 0, "order of extensions");
            close_to(token != 0 && token != 2, 1, 0, "padding or begin");
        }
    free(exact), free(scores), free(values), free(logits), free(origins), free(tokens);
}

static void check_loss(long count, long size, long passes, int half) {
    double *exact;
    void *rows = numbers(passes * count * size, half, 4, &exact);
    int64_t *targets = room(passes * count * sizeof *targets);
    float *found = room(4 * passes * count * sizeof *found), *columns = calloc(size + 1, sizeof *columns);
    uint8_t *right = room(passes * count);
    for (long i = 0; i < passes * count; i++) targets[i] = i < count ? between(0, size - 1) : targets[i - count];
    float *normaliser = found + passes * count, *apart = normaliser + passes * count;
    if (nmt_cross_entropy(rows, half, count, size, passes, targets, 0.5f, 2, found, normaliser, right, apart, columns)) exit(3);
    for (long r = 0; r < passes * count; r++) {
        double total = 0;
        for (long i = 0; i < size; i++) total += exp(exact[r * size + i]);
        close_to(normaliser[r], log(total), 1e-4, "normaliser");
        close_to(found[r], log(total) - exact[r * size + targets[r]], 1e-4, "cross entropy");
    }
    free(exact), free(rows), free(targets), free(found), free(columns), free(right);
}

int main(int count, char **words) {
    chance = count > 1 ? strtoull(words[1], NULL, 10) : 1;
    for (long round = count > 2 ? atol(words[2]) : 10; round > 0; round--) {
        int half = draw() % 2, large = round % 5 == 0;
        check_numbers(between(1, large ? 700 : 40), between(1, large ? 1024 : 200), between(1, large ? 3000 : 90), half);
        check_integers(between(1, 40), between(1, 1024), between(1, 300), half, draw() % 2);
        check_past(between(1, 20), between(1, 70), between(1, 4), LANES * between(1, 4), half);
        check_extensions(between(1, 4), between(1, 8), between(5, large ? 50000 : 400), between(1, 16), half);
        check_loss(between(1, 9), between(1, large ? 50000 : 700), between(1, 2), half);
    }
    check_extensions(2, 3, 1, 4, 0);
    printf("%ld checks hold\n", checks);
    return 0;
}
