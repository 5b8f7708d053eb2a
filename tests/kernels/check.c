/* Checks the kernels against plain loops in double precision, over random shapes. usage: check SEED ROUNDS
 *
 * A program of its own, so that sanitizers see every access, and an emulator runs it for a CPU that is not here.
 */
#include "../../nmt/fast/kernels/attention.c"
#include "../../nmt/fast/kernels/beam.c"
#include "../../nmt/fast/kernels/convolution.c"
#include "../../nmt/fast/kernels/decoding.c"
#include "../../nmt/fast/kernels/encoder.c"
#include "../../nmt/fast/kernels/loss.c"
#include "../../nmt/fast/kernels/products.c"
#include "../../nmt/fast/kernels/reading.c"
#include "../../nmt/fast/kernels/recurrence.c"
#include "../../nmt/fast/kernels/rnn.c"
#include "../../nmt/fast/kernels/search.c"
#include "../../nmt/fast/kernels/training.c"
#include "../../nmt/fast/kernels/transformer.c"
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
    long whole = (outputs + TILE - 1) / TILE * TILE, inner = half ? HALF_INNER : 1, wide = (inputs + inner - 1) / inner * inner;
    char *tiles = calloc(whole * wide + 1, half ? 2 : 4);
    float *bias = calloc(whole + 1, sizeof *bias);
    for (long o = 0; o < outputs; o++) {
        bias[o] = number();
        for (long i = 0; i < inputs; i++)
            store_one(tiles, (o / TILE * (wide / inner) + i / inner) * TILE * inner + o % TILE * inner + i % inner,
                      load_one(plain, o * inputs + i, half), half);
    }
    void *out = room(rows * outputs * (half ? 2 : 4));
    int relu = draw() % 2, threads = between(1, 3);
    matrix layer = {inputs, outputs, half ? HALVES : FLOATS, relu, 0, tiles, bias, NULL, NULL};
    if (nmt_multiply(&layer, states, half, rows, half, threads, out)) exit(3);
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
    matrix layer = {width, outputs, INTEGERS, 0, zero, (char *)tiles, bias, scales, sums};
    if (nmt_multiply(&layer, states, half, rows, 0, between(1, 3), out)) exit(3);
    for (long k = 0; k < 200; k++) {
        long r = between(0, rows - 1), o = between(0, outputs - 1), sum = 0;
        for (long i = 0; i < width; i++) sum += (bytes[r * width + i] - zero) * w[o * width + i];
        close_to(out[r * outputs + o], (double)sum * scales[o] * own[r] + bias[o], 1e-5, "product of integers");
    }
    free(states), free(x), free(tiles), free(w), free(scales), free(bias), free(sums), free(bytes), free(own), free(out);
}

static void check_extensions(long sentences, long beam, long size, long count, int half) {
    double *exact, *scores = room(sentences * beam * sizeof *scores), *values = room(sentences * count * sizeof *values);
    void *logits = numbers(sentences * beam * size, half, 4, &exact);
    int64_t *origins = room(sentences * count * 8), *tokens = room(sentences * count * 8);
    for (long i = 0; i < sentences * beam; i++) scores[i] = draw() % 5 ? number() : -INFINITY;
    if (nmt_best_extensions(logits, half, 0, scores, sentences, beam, size, count, NULL, 0, 2, 3, between(1, 3), values, origins, tokens)) exit(3);
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
    float *found = room(4 * passes * count * sizeof *found), *columns = calloc(size + 1, sizeof *columns), *bias = NULL;
    uint8_t *right = room(passes * count);
    for (long i = 0; i < passes * count; i++) targets[i] = i < count ? between(0, size - 1) : targets[i - count];
    float *normaliser = found + passes * count, *apart = normaliser + passes * count;
    if (draw() % 2) {
        bias = room(size * sizeof *bias);
        for (long i = 0; i < size; i++) bias[i] = number();
        for (long i = 0; i < passes * count * size; i++) exact[i] += bias[i % size];
    }
    if (nmt_cross_entropy(rows, bias, half, count, size, passes, targets, 0.1f, 0.5f, 2, found, normaliser, right, apart, columns)) exit(3);
    for (long r = 0; r < passes * count; r++) {
        double total = 0;
        for (long i = 0; i < size; i++) total += exp(exact[r * size + i]);
        close_to(normaliser[r], log(total), 1e-4, "normaliser");
        close_to(found[r], log(total) - exact[r * size + targets[r]], 1e-4, "cross entropy");
    }
    free(exact), free(rows), free(targets), free(found), free(columns), free(right), free(bias);
}

static matrix random_layer(long inputs, long outputs, int kind, int zero) {
    long whole = (outputs + TILE - 1) / TILE * TILE, padded = (inputs + INNER - 1) / INNER * INNER;
    char *weight = calloc(whole * padded, kind == FLOATS ? 4 : kind == HALVES ? 2 : 1);
    float *bias = calloc(whole, sizeof *bias), *scales = calloc(whole, sizeof *scales);
    int32_t *sums_ = calloc(whole, sizeof *sums_);
    for (long i = 0; i < whole; i++) scales[i] = 0.01f, bias[i] = number() / 10;
    for (long i = 0; i < whole * inputs; i++)
        if (kind == INTEGERS)
            weight[i] = 0; /* what they sum up to would have to be known: checked above */
        else
            store_one(weight, i, number() / sqrtf(inputs), kind == HALVES);
    return (matrix){inputs, outputs, kind, 0, zero, weight, bias, scales, sums_};
}

static norm random_norm(long width, int kind) {
    float *weight = room(width * sizeof *weight), *bias = room(width * sizeof *bias);
    for (long i = 0; i < width; i++) weight[i] = 1 + number() / 4, bias[i] = number() / 4;
    return (norm){kind, 1e-5f, weight, bias};
}

static void free_layer(matrix layer) {
    free((void *)layer.weight), free((void *)layer.bias), free((void *)layer.scales), free((void *)layer.sums);
}
static void free_norm(norm one) { free((void *)one.weight), free((void *)one.bias); }

/* A sentence's states, keys and values do not depend on the sentences beside it or on the threads. */
static void check_encoder(const stack *model, long sentences, long longest, const int64_t *lengths, float **keys, float **values) {
    long width = model->width, size = width / model->heads, padded = whole_lanes(longest), watched = between(0, sentences - 1);
    long own = lengths[watched], threads = between(1, 3), layers = model->layers;
    float *added = room(longest * width * 4), *turns = room(longest * size * 4), *space = room(nmt_encoder_room(model, longest, 3) * 4);
    float *states = room(sentences * longest * width * 4), *lone = room(own * width * 4);
    int64_t *tokens = room(sentences * longest * 8);
    for (long i = 0; i < longest * width; i++) added[i] = number();
    for (long i = 0; i < longest * size; i++) turns[i] = number();
    for (long i = 0; i < sentences * longest; i++) tokens[i] = between(0, 49);
    nmt_encode(model, tokens, lengths, sentences, longest, added, turns, threads, space, states);
    nmt_encode(model, tokens + watched * longest, &own, 1, own, added, turns, 1, space, lone);
    for (long i = 0; i < longest * width; i++)
        close_to(states[watched * longest * width + i], i < own * width ? lone[i] : 0, 0, "sentence by itself");
    nmt_project_source(model, states, lengths, sentences, longest, padded, threads, space, keys, values);
    float **some = room(layers * sizeof *some), **more = room(layers * sizeof *more);
    for (long k = 0; k < layers; k++) some[k] = room(width * whole_lanes(own) * 4), more[k] = room(own * width * 4);
    nmt_project_source(model, lone, &own, 1, own, whole_lanes(own), 1, space, some, more);
    for (long k = 0; k < layers; k++) {
        for (long i = 0; i < own * width; i++) close_to(values[k][watched * longest * width + i], more[k][i], 0, "value by itself");
        for (long i = 0; i < own * width; i++)
            close_to(keys[k][(watched * width + i % width) * padded + i / width], some[k][i % width * whole_lanes(own) + i / width], 0, "key");
        free(some[k]), free(more[k]);
    }
    free(added), free(turns), free(space), free(states), free(lone), free(tokens), free(some), free(more);
}

/* What goes on is alive before it is not, and all of it comes from what was there; what is finished is in order. */
static void check_settling(long sentences, long beam, long width, long length) {
    long count = beam > 1 ? 2 * beam : 1, longest = length + 3, rows = sentences * beam;
    int64_t *limits = room(sentences * 8), *numbers = room(sentences * 8), *origins = room(sentences * count * 8);
    int64_t *said = room(sentences * count * 8), *history = calloc(sentences * width * length + 1, 8), *lengths = calloc(rows, 8);
    int64_t *tokens = calloc(rows * longest, 8), *next = room(rows * (2 + length) * 8), *left = room(sentences * 8);
    double *divisors = room((longest + 1) * 8), *values = room(sentences * count * 8), *scores = room(rows * 8), *found = room(rows * 8);
    double *after = room(rows * 8);
    uint8_t *cut = calloc(rows, 1), *closed = room(sentences);
    for (long i = 0; i <= longest; i++) divisors[i] = i + 1;
    for (long i = 0; i < rows; i++) scores[i] = found[i] = -INFINITY;
    for (long s = 0; s < sentences; s++) {
        limits[s] = between(length, longest), numbers[s] = s;
        for (long k = 0; k < count; k++) {
            values[s * count + k] = draw() % 6 ? -0.1 * k : -INFINITY;
            origins[s * count + k] = between(0, width - 1), said[s * count + k] = between(2, 5);
        }
    }
    finished all_ended = {beam, longest, between(1, beam), draw() % 2, 3, limits, divisors, scores, found, tokens, lengths, cut};
    extensions from = {sentences, width, count, values, origins, said, numbers, history};
    hypotheses to = {after, next, next + rows, left, next + 2 * rows};
    long open = nmt_settle(&all_ended, &from, length, 0.88, closed, &to);
    close_to(open <= sentences, 1, 0, "sentences that go on");
    for (long i = 0; i < open * beam; i++) {
        close_to(to.rows[i] / width == left[i / beam], 1, 0, "row of another sentence");
        if (i % beam) close_to(after[i] <= after[i - 1] || after[i] == after[i - 1], 1, 0, "order of what goes on");
        close_to(to.tokens[i] != 3 || after[i] == -INFINITY, 1, 0, "an end goes on");
    }
    for (long i = 0; i < rows; i++) close_to(i % beam == 0 || scores[i] <= scores[i - 1], 1, 0, "order of what has ended");
    free(limits), free(numbers), free(origins), free(said), free(history), free(lengths), free(tokens), free(next), free(left);
    free(divisors), free(values), free(scores), free(found), free(after), free(cut), free(closed);
}

/* What a search of some sentences finds, in `scores` (N, K) and `tokens` (N, K, longest). */
static void search(const stack *model, const matrix *output, const sources *source, long sentences, long beam, const int64_t *limits,
                   long longest, int threads, double *scores, int64_t *tokens) {
    long rows = sentences * beam, count = beam > 1 ? 2 * beam : 1, extent = longest > source->longest ? longest : source->longest;
    double *divisors = room((longest + 1) * 8), *sums_ = room(rows * 8);
    int64_t *lengths = calloc(rows, 8);
    uint8_t *cut = calloc(rows, 1);
    for (long i = 0; i <= longest; i++) divisors[i] = i + 1;
    for (long i = 0; i < rows; i++) scores[i] = sums_[i] = -INFINITY;
    finished all_ended = {beam, longest, 1, 0, 3, limits, divisors, scores, sums_, tokens, lengths, cut};
    searching now = {.sentences = sentences, .beam = 1, .count = count};
    for (int i = 0; i < 2; i++) {
        now.scores[i] = calloc(rows, 8), now.numbers[i] = room(sentences * 8);
        now.history[i] = room(rows * longest * 8), now.past[i] = room(rows * longest * 4);
    }
    now.rows = room(rows * 8), now.tokens = room(rows * 8), now.steps = room(longest * sizeof *now.steps);
    now.row_counts = room(longest * 8), now.values = room(sentences * count * 8), now.origins = room(sentences * count * 8);
    now.said = room(sentences * count * 8), now.flags = room(sentences), now.hidden = room(rows * model->width * 4);
    now.logits = room(rows * output->outputs * 4), now.room = room(nmt_transformer_room(model, rows, extent, threads) * 4);
    float *turns = room(longest * model->width / model->heads * 4);
    for (long i = 0; i < longest * model->width / model->heads; i++) turns[i] = sinf(i);
    now.turns = turns;
    for (long s = 0; s < sentences; s++) now.numbers[0][s] = now.rows[s] = s, now.tokens[s] = 2;
    for (long t = 0; t < longest; t++) now.steps[t] = room(model->layers * rows * 2 * model->width * 4);
    long left = sentences;
    while (left > 0) left = nmt_search(model, output, source, &all_ended, &now, between(1, 4), 0, 2, threads);
    close_to(left, 0, 0, "sentences left");
    for (long t = 0; t < longest; t++) free(now.steps[t]);
    for (int i = 0; i < 2; i++) free(now.scores[i]), free(now.numbers[i]), free(now.history[i]), free(now.past[i]);
    free(now.rows), free(now.tokens), free(now.steps), free(now.row_counts), free(now.values), free(now.origins), free(now.said);
    free(now.flags), free(now.hidden), free(now.logits), free(now.room), free(turns);
    free(divisors), free(sums_), free(lengths), free(cut);
}

/* A sentence finds the same beside others and alone. */
static void check_search(const stack *model, const sources *source, long sentences, long beam) {
    long longest = 0, watched = between(0, sentences - 1), width = model->width, layers = model->layers;
    int64_t *limits = room(sentences * 8);
    for (long s = 0; s < sentences; s++) {
        limits[s] = between(1, 9);
        longest = limits[s] > longest ? limits[s] : longest;
    }
    matrix output = random_layer(width, 50, FLOATS, 128);
    double *scores = room(sentences * beam * 8), *lone = room(beam * 8);
    int64_t *tokens = calloc(sentences * beam * longest, 8), *single = calloc(beam * longest, 8);
    search(model, &output, source, sentences, beam, limits, longest, between(1, 3), scores, tokens);
    const float **keys = room(layers * sizeof *keys), **values = room(layers * sizeof *values);
    for (long k = 0; k < layers; k++) {
        keys[k] = source->keys[k] + watched * width * source->padded;
        values[k] = source->values[k] + watched * source->longest * width;
    }
    sources own = {source->longest, source->padded, source->lengths + watched, keys, values};
    search(model, &output, &own, 1, beam, limits + watched, limits[watched], 1, lone, single);
    for (long k = 0; k < beam; k++) {
        close_to(lone[k] == scores[watched * beam + k], 1, 0, "score of a sentence by itself");
        for (long t = 0; t < limits[watched] - 1 && lone[k] > -INFINITY; t++)
            close_to(single[k * limits[watched] + t], tokens[(watched * beam + k) * longest + t], 0, "word of a sentence by itself");
    }
    free_layer(output), free(limits), free(scores), free(lone), free(tokens), free(single), free(keys), free(values);
}

/* A row's states do not depend on the rows beside it, on the threads, or on the order of the past's rows. */
static void check_step(long sentences, long beam, long heads, long size, long layers, long positions) {
    long width = heads * size, feed = LANES * between(1, 8), rows = sentences * beam, longest = between(1, 40);
    long padded = (longest + LANES - 1) / LANES * LANES;
    stack model = {width, heads, feed, layers, draw() % 2, 1, draw() % 2, draw() % 2, draw() % 2, 0.3f, 0.3f, 1, NULL, {0}, NULL};
    layer *all_layers = room(layers * sizeof *all_layers);
    float *table = room(50 * width * sizeof *table), *turns = room(size * sizeof *turns);
    for (long i = 0; i < 50 * width; i++) table[i] = number();
    for (long i = 0; i < size; i++) turns[i] = number();
    const float **keys = room(layers * sizeof *keys), **values = room(layers * sizeof *values);
    int64_t *lengths = room(sentences * 8), *owners = room(sentences * 8);
    for (long s = 0; s < sentences; s++) lengths[s] = between(1, longest), owners[s] = s;
    for (long number_ = 0; number_ < layers; number_++) {
        int kind = between(0, 2), norms = between(1, 2);
        all_layers[number_] = (layer){
            random_layer(width, 3 * width, kind, 128), random_layer(width, width, kind, 128), random_layer(width, width, kind, 128),
            random_layer(width, 2 * width, kind, 128), random_layer(width, width, kind, 128), random_layer(width, feed, kind, 128), random_layer(feed, width, kind, 128),
            random_norm(width, norms), random_norm(width, norms), random_norm(width, norms)};
        float *some = room(sentences * width * padded * sizeof *some), *more = room(sentences * longest * width * sizeof *more);
        for (long i = 0; i < sentences * width * padded; i++) some[i] = number();
        for (long i = 0; i < sentences * longest * width; i++) more[i] = number();
        keys[number_] = some, values[number_] = more;
    }
    model.table = table, model.layer = all_layers, model.last = random_norm(width, LAYER_NORM);
    check_encoder(&model, sentences, longest, lengths, (float **)keys, (float **)values);
    sources source = {longest, padded, lengths, keys, values};
    check_search(&model, &source, sentences, beam);
    float **steps = room(positions * sizeof *steps), **alone = room(positions * sizeof *alone);
    int64_t *counts = room(positions * 8), *ones = room(positions * 8);
    int32_t *past = room(rows * positions * 4), *before_ = room(rows * positions * 4), *single = room(positions * 4), *single_before = room(positions * 4);
    int64_t *tokens = room(rows * 8), *origins = room(rows * 8), zero = 0;
    float *out = room(rows * width * 4), *lone = room(width * 4);
    long watched = between(0, sentences - 1);
    for (long t = 0; t < positions; t++) {
        counts[t] = rows, ones[t] = 1;
        steps[t] = room(layers * rows * 2 * width * 4), alone[t] = room(layers * 2 * width * 4);
        for (long r = 0; r < rows; r++) tokens[r] = between(0, 49), origins[r] = r / beam * beam; /* all go on from the first */
        long row = watched * beam;
        for (int turn = 0; turn < 2; turn++) {
            long many = turn ? 1 : rows, threads = turn ? 1 : between(1, 3), extent = t + 1 > longest ? t + 1 : longest;
            float *space = room(nmt_transformer_room(&model, many, extent, threads) * sizeof *space);
            if (turn)
                nmt_transformer_step(&model, &source, owners + watched, 1, tokens + row, NULL, turns, alone, ones, single_before, &zero, single, t + 1, 1, 1, space, lone);
            else
                nmt_transformer_step(&model, &source, owners, beam, tokens, NULL, turns, steps, counts, before_, origins, past, t + 1, rows, threads, space, out);
            free(space);
        }
        for (long i = 0; i < width; i++) close_to(lone[i], out[row * width + i], 0, "row by itself");
        memcpy(before_, past, rows * (t + 1) * 4), memcpy(single_before, single, (t + 1) * 4);
    }
    for (long t = 0; t < positions; t++) free(steps[t]), free(alone[t]);
    for (long k = 0; k < layers; k++) {
        layer *one = all_layers + k;
        free_layer(one->projection), free_layer(one->self_output), free_layer(one->query), free_layer(one->memory), free_layer(one->cross_output);
        free_layer(one->inner), free_layer(one->outer), free_norm(one->self_norm), free_norm(one->cross_norm), free_norm(one->feed_norm);
        free((void *)keys[k]), free((void *)values[k]);
    }
    free_norm(model.last), free(all_layers), free(table), free(turns), free(keys), free(values), free(lengths), free(owners);
    free(steps), free(alone), free(counts), free(ones), free(past), free(before_), free(single), free(single_before);
    free(tokens), free(origins), free(out), free(lone);
}

/* Attention of sentences of unlike length to others, and its gradients: against sums, and those of differences. */
static void check_attention(long sentences, long heads, long size, int half, int causal) {
    long width = heads * size, t = 0, s = 0, weights_ = 0;
    int64_t *here = room((sentences + 1) * 8), *there = room((sentences + 1) * 8), *places = room(sentences * 8);
    for (long b = 0; b < sentences; b++) {
        long some = between(1, 40), others = causal ? some : between(1, 40);
        here[b] = t, there[b] = s, places[b] = weights_;
        t += some, s += others, weights_ += heads * some * whole(others);
    }
    here[sentences] = t, there[sentences] = s;
    double *q, *k, *o;
    void *queries = numbers(t * width, half, 1, &q), *keys = numbers(s * 2 * width, half, 1, &k), *slopes = numbers(t * width, half, 1, &o);
    float *bias = calloc(width, 4), *weights = room(weights_ * 4), *sums = calloc(SHARES * 3 * width, 4);
    attention one = {sentences, heads, size, half, causal, 0.3f, draw() % 2 ? 0.25f : 0, draw(), here, there, places, width, 2 * width,
                     queries, keys, (char *)keys + width * (half ? 2 : 4), bias, bias, bias, weights};
    int bytes = half ? 2 : 4, threads = between(1, 3);
    void *context = room(t * width * bytes), *d_queries = room(t * width * bytes), *d_keys = room(s * 2 * width * bytes);
    if (nmt_attend(&one, context, threads)) exit(3);
    if (nmt_attend_back(&one, slopes, d_queries, d_keys, (char *)d_keys + width * bytes, sums, threads)) exit(3);
    double tolerance = half ? 3e-2 : 1e-4;
    for (long b = 0; b < sentences; b++) {
        long head = between(0, heads - 1), row = between(0, here[b + 1] - here[b] - 1), count = there[b + 1] - there[b];
        long padded = whole(count), place = places[b] + (head * (here[b + 1] - here[b]) + row) * padded, seen = causal ? row + 1 : count;
        double score[64], total = 0, mixed = 0, slope[64], mean = 0, by_query = 0;
        for (long i = 0; i < seen; i++) {
            score[i] = slope[i] = 0;
            for (long c = 0; c < size; c++) {
                score[i] += 0.3f * q[(here[b] + row) * width + head * size + c] * k[(there[b] + i) * 2 * width + head * size + c];
                slope[i] += o[(here[b] + row) * width + head * size + c] * k[(there[b] + i) * 2 * width + width + head * size + c];
            }
            total += score[i] = exp(score[i]);
        }
        for (long i = 0; i < seen; i++) {
            floats kept = thin(all(1), place + i - (place + i) % LANES, dropout_of(one.key, one.rate));
            double p = score[i] / total, share = kept[(place + i) % LANES];
            close_to(weights[place + i], p, 1e-4, "weight");
            mixed += p * share * k[(there[b] + i) * 2 * width + width + head * size];
            mean += p * share * slope[i];
        }
        for (long i = 0; i < seen; i++) {
            floats kept = thin(all(1), place + i - (place + i) % LANES, dropout_of(one.key, one.rate));
            double p = score[i] / total, share = kept[(place + i) % LANES];
            by_query += 0.3f * p * (share * slope[i] - mean) * k[(there[b] + i) * 2 * width + head * size];
        }
        close_to(load_one(context, (here[b] + row) * width + head * size, half), mixed, tolerance, "context");
        close_to(load_one(d_queries, (here[b] + row) * width + head * size, half), by_query, tolerance, "gradient of a query");
    }
    free(here), free(there), free(places), free(queries), free(keys), free(slopes), free(q), free(k), free(o), free(bias);
    free(weights), free(sums), free(context), free(d_queries), free(d_keys);
}

/* What stands between two products, and its gradients. */
static void check_training(long rows, long width, int half) {
    double *x, *u, *g;
    float *stream = numbers(rows * width, 0, 1, &x), *total = room(rows * width * 4), *normed = room(rows * width * 4), *d_stream = room(rows * width * 4);
    void *update = numbers(rows * width, half, 1, &u), *slopes = numbers(rows * width, half, 1, &g), *read = room(rows * width * 4), *d_update = room(rows * width * 4);
    float *measures = room(rows * 8), *sums = calloc(nmt_blocks(rows) * 3 * width, 4), *ones = room(width * 4), *zeros = calloc(width, 4);
    for (long i = 0; i < width; i++) ones[i] = 1;
    normalisation by = {draw() % 2, 1e-5f, ones, zeros};
    float rate = draw() % 2 ? 0.5f : 0;
    uint64_t key = draw();
    int threads = between(1, 3);
    nmt_residual(stream, update, zeros, half, rows, width, key, rate, &by, total, normed, read, measures, threads);
    nmt_residual_back(slopes, NULL, NULL, half, rows, width, key, rate, &by, total, measures, d_stream, d_update, sums, threads);
    long row = between(0, rows - 1);
    double mean = 0, square = 0, sum_ = 0, along = 0;
    for (long i = 0; i < width; i++) mean += by.centred ? total[row * width + i] / (double)width : 0;
    for (long i = 0; i < width; i++) square += (total[row * width + i] - mean) * (total[row * width + i] - mean) / width;
    double scale = 1 / sqrt(square + 1e-5);
    for (long i = 0; i < width; i++) {
        double own = (total[row * width + i] - mean) * scale;
        sum_ += by.centred ? g[row * width + i] / width : 0, along += g[row * width + i] * own / width;
        close_to(normed[row * width + i], own, 1e-3, "norm");
    }
    for (long i = 0; i < width; i++) {
        long place = row * width + i;
        double own = (total[place] - mean) * scale, kept = rate > 0 ? thin(all(1), place - i % LANES, dropout_of(key, rate))[i % LANES] : 1;
        close_to(total[place], x[place] + kept * u[place], 1e-5, "sum");
        close_to(d_stream[place], (g[place] - sum_ - own * along) * scale, 2e-3, "gradient of the stream");
        close_to(load_one(d_update, place, half), kept * d_stream[place], 2e-2, "gradient of an update");
    }
    nmt_activate(update, zeros, half, rows, width, key, rate, threads);
    nmt_activate_back(update, slopes, half, rows, width, rate, d_update, sums, threads);
    for (long i = 0; i < width; i++) {
        long place = row * width + i;
        double kept = rate > 0 ? thin(all(1), place - i % LANES, dropout_of(key, rate))[i % LANES] : 1;
        close_to(load_one(update, place, half), u[place] > 0 ? kept * u[place] : 0, 1e-2, "activation");
        close_to(load_one(d_update, place, half), u[place] > 0 ? kept * g[place] : 0, 1e-2, "gradient of an activation");
    }
    int64_t *tokens = room(rows * 8);
    for (long r = 0; r < rows; r++) tokens[r] = between(0, rows - 1);
    memset(d_stream, 0, rows * width * 4);
    nmt_embed(stream, tokens, NULL, tokens, rows, width, 2, key, 0, total, threads);
    nmt_embed_back(total, tokens, rows, width, 2, key, 0, d_stream, threads);
    double found = 0;
    for (long r = 0; r < rows; r++) found += tokens[r] == tokens[row] ? 4 * x[tokens[r] * width] : 0;
    close_to(d_stream[tokens[row] * width], found, 1e-4, "gradient of an embedding");
    free(stream), free(total), free(normed), free(d_stream), free(update), free(slopes), free(read), free(d_update), free(measures);
    free(sums), free(ones), free(zeros), free(tokens), free(x), free(u), free(g);
}

/* A look at sources of unlike length, and its gradients along the query: against sums. */
static void check_look(long sentences, long longest, long width, long depth, int half) {
    double *k, *v, *q, *o, *c;
    float *keys = numbers(sentences * longest * width, 0, 1, &k), *queries = numbers(sentences * width, 0, 1, &q), *combine = numbers(width, 0, 1, &c);
    void *values = numbers(sentences * longest * depth, half, 1, &v), *slopes = numbers(sentences * depth, half, 1, &o);
    for (long i = 0; i < sentences * longest * width; i++) keys[i] = exp(2 * k[i]);
    for (long i = 0; i < sentences * width; i++) queries[i] = exp(2 * q[i]);
    int64_t *lengths = room(sentences * 8);
    for (long b = 0; b < sentences; b++) lengths[b] = between(1, longest);
    float *weights = room(sentences * longest * 4), *d_keys = calloc(sentences * longest * width, 4), *sums = calloc(PORTIONS * width, 4);
    void *context = room(sentences * depth * (half ? 2 : 4)), *d_queries = room(sentences * width * (half ? 2 : 4));
    looked_at at = {sentences, longest, width, depth, half, keys, combine, values, lengths};
    int threads = between(1, 3);
    nmt_look(&at, queries, weights, context, threads);
    if (nmt_look_back(&at, queries, weights, slopes, d_queries, width, d_keys, sums, threads)) exit(3);
    long b = between(0, sentences - 1), i = between(0, width - 1), column = between(0, depth - 1);
    double *score = room(longest * 8), *slope = room(longest * 8), total = 0, mixed = 0, mean = 0, found = 0;
    for (long s = 0; s < lengths[b]; s++) {
        score[s] = slope[s] = 0;
        for (long j = 0; j < width; j++) score[s] += c[j] * tanh(q[b * width + j] + k[(b * longest + s) * width + j]);
        for (long j = 0; j < depth; j++) slope[s] += o[b * depth + j] * v[(b * longest + s) * depth + j];
        total += score[s] = exp(score[s]);
    }
    for (long s = 0; s < lengths[b]; s++) {
        score[s] /= total, mixed += score[s] * v[(b * longest + s) * depth + column], mean += score[s] * slope[s];
        close_to(weights[b * longest + s], score[s], 1e-4, "weight of a look");
    }
    for (long s = 0; s < lengths[b]; s++) {
        double bent = tanh(q[b * width + i] + k[(b * longest + s) * width + i]), own = score[s] * (slope[s] - mean) * c[i] * (1 - bent * bent);
        close_to(d_keys[(b * longest + s) * width + i], own, 1e-3, "gradient of a key");
        found += own;
    }
    close_to(load_one(context, b * depth + column, half), mixed, half ? 2e-2 : 1e-4, "context of a look");
    close_to(load_one(d_queries, b * width + i, half), found, half ? 2e-2 : 1e-3, "gradient of a query");
    free(keys), free(queries), free(combine), free(values), free(slopes), free(lengths), free(weights), free(d_keys), free(sums);
    free(context), free(d_queries), free(score), free(slope), free(k), free(v), free(q), free(o), free(c);
}

/* A cell by the formulas. */
static void check_cell(long rows, long hidden, int half, int lstm) {
    long gates = lstm ? 4 : 3, bytes = half ? 2 : 4;
    double *x, *y, *z, *m, *g;
    void *inputs = numbers(rows * gates * hidden, half, 2, &x), *contexts = numbers(rows * gates * hidden, half, 2, &z);
    void *recurrent = numbers(rows * gates * hidden, half, 2, &y), *state = room(rows * hidden * bytes);
    float *memory = numbers(rows * hidden, 0, 1, &m), *slopes = numbers(rows * hidden, 0, 1, &g), *bias = calloc(gates * hidden, 4);
    float *active = room(rows * 4 * hidden * 4), *after = room(rows * hidden * 4), *d_memory = calloc(rows * hidden, 4);
    void *d_inputs = room(rows * gates * hidden * bytes), *d_recurrent = room(rows * gates * hidden * bytes);
    cell at = {rows, hidden, half, lstm, inputs, contexts, recurrent, gates * hidden, gates * hidden, bias, memory, active, after, state, hidden};
    nmt_cell(&at, 2);
    nmt_cell_back(&at, slopes, d_memory, d_inputs, d_recurrent, 2);
    long row = between(0, rows - 1), i = between(0, hidden - 1), first = row * gates * hidden;
    double a[4], b[4], before = m[row * hidden + i], expected, carried;
    for (long gate = 0; gate < gates; gate++) a[gate] = x[first + gate * hidden + i] + z[first + gate * hidden + i], b[gate] = y[first + gate * hidden + i];
    for (long gate = 0; gate < gates; gate++) b[gate] = lstm || gate < 2 ? a[gate] + b[gate] : b[gate];
    double one = 1 / (1 + exp(-b[0])), two = 1 / (1 + exp(-b[1]));
    if (lstm) {
        double next = two * before + one * tanh(b[2]), shown = 1 / (1 + exp(-b[3]));
        expected = shown * tanh(next), carried = g[row * hidden + i] * shown * (1 - tanh(next) * tanh(next)) * two;
    } else {
        double new = tanh(a[2] + one * b[2]);
        expected = new + two * (before - new), carried = g[row * hidden + i] * two;
    }
    close_to(load_one(state, row * hidden + i, half), expected, half ? 1e-2 : 1e-5, "state of a cell");
    close_to(d_memory[row * hidden + i], carried, 1e-4, "gradient of a memory");
    free(inputs), free(contexts), free(recurrent), free(state), free(memory), free(slopes), free(bias), free(active), free(after);
    free(d_memory), free(d_inputs), free(d_recurrent), free(x), free(y), free(z), free(m), free(g);
}

#include "recurrent.h"
#include "convolution.h"

int main(int count, char **words) {
    chance = count > 1 ? strtoull(words[1], NULL, 10) : 1;
    for (long round = count > 2 ? atol(words[2]) : 10; round > 0; round--) {
        int half = draw() % 2, large = round % 5 == 0;
        check_numbers(between(1, large ? 700 : 40), between(1, large ? 1024 : 200), between(1, large ? 3000 : 90), half);
        check_integers(between(1, 40), between(1, 1024), between(1, 300), half, draw() % 2);
        check_step(between(1, 4), between(1, 5), between(1, 4), LANES * between(1, 5), between(1, 3), between(1, 20));
        check_settling(between(1, 9), between(1, 6), between(1, 6), between(1, 9));
        check_reading(between(1, 40), between(1, 20), between(1, 60), 16 * between(1, 4), draw() % 2 ? GRU : LSTM);
        check_rnn_step(between(1, 4), between(1, 5), 16 * between(1, 6), between(1, 3), draw() % 2 ? GRU : LSTM);
        check_sparse(between(1, 40), 1), check_sparse(between(1, 40), 3e7);
        check_convolution_step(between(1, 4), between(1, 5), 16 * between(1, 6), between(1, 3), between(0, 4));
        check_extensions(between(1, 4), between(1, 8), between(5, large ? 50000 : 400), between(1, 16), half);
        check_attention(between(1, 9), between(1, 4), LANES * between(1, 5), half, draw() % 2);
        check_training(between(1, large ? 700 : 20), LANES * between(1, 20), half);
        check_look(between(1, 9), between(1, 40), LANES * between(1, 9), LANES * between(1, 9), half);
        check_cell(between(1, 20), LANES * between(1, 9), half, draw() % 2);
        check_loss(between(1, 9), between(1, large ? 50000 : 700), between(1, 2), half);
    }
    check_extensions(2, 3, 1, 4, 0);
    printf("%ld checks hold\n", checks);
    return 0;
}
