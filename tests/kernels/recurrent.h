/* Checks of recurrent encoders and decoders; a part of check.c. */

static float *random_floats(long count) {
    float *made = room(count * sizeof *made);
    for (long i = 0; i < count; i++) made[i] = number();
    return made;
}

static double at_matrix(const matrix *layer, const double *from, long output) {
    double total = layer->bias[output];
    for (long i = 0; i < layer->inputs; i++)
        total += from[i] * ((const float *)layer->weight)[output / TILE * TILE * layer->inputs + i * TILE + output % TILE];
    return total;
}

/* A sentence is read as by loops in double precision, whatever stands beside it and however many threads read. */
static void check_reading(long sentences, long longest, long inputs, long hidden, int unit) {
    long gates = unit * hidden, width = 2 * hidden;
    reader by = {hidden, unit, draw() % 2, random_layer(inputs, gates, FLOATS, 0), random_layer(hidden, gates, FLOATS, 0)};
    float *words = random_floats(sentences * longest * inputs), *states = random_floats(sentences * longest * width);
    float *last = room(sentences * hidden * sizeof *last), *space;
    int64_t *lengths = room(sentences * 8);
    for (long b = 0; b < sentences; b++) lengths[b] = between(1, longest);
    long threads = between(1, 3), watched = between(0, sentences - 1);
    space = room(nmt_reading_room(&by, threads) * sizeof *space);
    nmt_read(&by, words, lengths, sentences, longest, width, threads, space, states + hidden, last);
    double *h = calloc(2 * hidden, sizeof *h), *c = h + hidden, *x = room(inputs * sizeof *x), *g = room(2 * gates * sizeof *g), *p = g + gates;
    for (long t = 0; t < lengths[watched]; t++) {
        long place = watched * longest + (by.backwards ? lengths[watched] - 1 - t : t);
        for (long i = 0; i < inputs; i++) x[i] = words[place * inputs + i];
        for (long o = 0; o < gates; o++) g[o] = at_matrix(&by.input, x, o), p[o] = at_matrix(&by.recurrent, h, o);
        for (long i = 0; i < hidden; i++) {
            double one = 1 / (1 + exp(-g[i] - p[i])), two = 1 / (1 + exp(-g[hidden + i] - p[hidden + i]));
            double three = g[2 * hidden + i] + (unit == GRU ? one : 1) * p[2 * hidden + i];
            if (unit == GRU)
                h[i] = (1 - two) * tanh(three) + two * h[i];
            else {
                c[i] = two * c[i] + one * tanh(three);
                h[i] = tanh(c[i]) / (1 + exp(-g[3 * hidden + i] - p[3 * hidden + i]));
            }
            close_to(states[place * width + hidden + i], h[i], 1e-4, "state of the encoder");
        }
    }
    for (long i = 0; i < hidden; i++) close_to(last[watched * hidden + i], h[i], 1e-4, "last state of the encoder");
    free(words), free(states), free(last), free(space), free(lengths), free(h), free(x), free(g);
    free_layer(by.input), free_layer(by.recurrent);
}

/* A row's states do not depend on the rows beside it or on the threads. */
static void check_rnn_step(long sentences, long beam, long hidden, long layers, int unit) {
    long embedding = 16 * between(1, 3), gates = unit * hidden, rows = sentences * beam, longest = between(1, 30), heads = 1;
    int score = between(NOTHING, PLACE), previous = score != NOTHING && draw() % 2, feeding = score != NOTHING && !previous && draw() % 2;
    int kind = between(FLOATS, HALVES), gated = previous || score == NOTHING, covers = score == ADDITIVE && draw() % 2;
    if (score == NOTHING) longest = 1;
    if (score == PRODUCT && hidden % 32 == 0) heads = 2;
    long first = gated ? gates : feeding ? hidden : 0, whole = (first + TILE - 1) / TILE * TILE, said = (gates + TILE - 1) / TILE * TILE;
    long readout = 2 * embedding, tail = (readout + TILE - 1) / TILE * TILE, width = heads > 1 ? 2 * hidden : whole + tail;
    matrix *recurrent = room(layers * sizeof *recurrent), *upper = room(layers * sizeof *upper);
    for (long k = 0; k < layers; k++) recurrent[k] = random_layer(hidden, gates, kind, 0), upper[k] = random_layer(hidden, gates, kind, 0);
    float *table = random_floats(20 * embedding), *words = room(20 * (said + tail) * 4), *some = random_floats(3 * hidden);
    uint8_t *known = calloc(20, 1);
    long scored = score == PLACE ? 16 : hidden;
    rnn_decoder model = {embedding, hidden, layers, unit, 1, previous, gated, feeding, said + tail, said, whole + tail, whole, table,
                         random_layer(embedding, said + tail, kind, 0), words, known, random_layer(hidden, gates, kind, 0),
                         random_layer(hidden, hidden, kind, 0), random_layer(hidden, readout, kind, 0), recurrent, upper,
                         {score, between(SOFTMAX, HIGHEST), heads, scored, 3, 0.3f, random_layer(hidden, scored, kind, 0),
                          random_layer(hidden, hidden, kind, 0), random_layer(2 * hidden, whole + tail, kind, 0), some,
                          covers ? some + hidden : NULL, some + 2 * hidden}};
    if (draw() % 2) model.words = NULL, model.known = NULL;
    float *keys = random_floats(sentences * longest * hidden), *values = random_floats(sentences * longest * width);
    for (long i = 0; i < sentences * longest * hidden; i++) keys[i] = score == ADDITIVE ? expf(2 * keys[i]) : keys[i];
    int64_t *lengths = room(sentences * 8), *owners = room(sentences * 8), *tokens = room(rows * 8), *origins = room(rows * 8), zero = 0;
    for (long s = 0; s < sentences; s++) lengths[s] = between(1, longest), owners[s] = sentences - 1 - s;
    rnn_sources source = {longest, lengths, keys, values};
    long state = hidden * (layers * state_parts(unit) + feeding) + (covers ? longest : 0), watched = between(0, sentences - 1), row = watched * beam;
    float *before_ = random_floats(rows * state), *after = room(rows * state * 4), *out = room(rows * embedding * 4);
    float *single = room(state * 4), *next = room(state * 4), *lone = room(embedding * 4);
    for (long i = 0; covers && i < rows * state; i++) before_[i] = fabsf(before_[i]);
    memcpy(single, before_ + row * state, state * 4);
    for (long t = 0; t < 4; t++) {
        for (long r = 0; r < rows; r++) tokens[r] = between(0, 19), origins[r] = r / beam * beam + (r % beam ? between(0, beam - 1) : 0);
        rnn_call all_rows = {beam, t, state, owners, tokens, origins, before_, after, out};
        rnn_call own = {1, t, state, owners + watched, tokens + row, &zero, single, next, lone};
        long threads = between(1, 3);
        float *space = room(nmt_rnn_room(&model, rows, longest, threads) * 4), *small = room(nmt_rnn_room(&model, 1, longest, 1) * 4);
        nmt_rnn_step(&model, &source, &all_rows, rows, threads, space), nmt_rnn_step(&model, &source, &own, 1, 1, small);
        for (long i = 0; i < embedding; i++) close_to(lone[i], out[row * embedding + i], 0, "row of a recurrent decoder by itself");
        for (long i = 0; i < state; i++) close_to(next[i], after[row * state + i], 0, "state of a row by itself");
        memcpy(before_, after, rows * state * 4), memcpy(single, next, state * 4), free(space), free(small);
    }
    for (long k = 0; k < layers; k++) free_layer(recurrent[k]), free_layer(upper[k]);
    free_layer(model.word), free_layer(model.fed), free_layer(model.attentional), free_layer(model.read);
    free_layer(model.look.query), free_layer(model.look.guess), free_layer(model.look.context);
    free(recurrent), free(upper), free(table), free(words), free(some), free(known), free(keys), free(values), free(lengths), free(owners);
    free(tokens), free(origins), free(before_), free(after), free(out), free(single), free(next), free(lone);
}

/* Weights of sparsemax sum up to 1 and fall with the scores, however large these are; of infinite scores only the end is asked. */
static void check_sparse(long length, float size) {
    float *scores = random_floats(length), *weights = room(length * 4), infinite[2] = {INFINITY, INFINITY};
    for (long t = 0; t < length; t++) weights[t] = scores[t] = size * (t && draw() % 3 == 0 ? scores[0] / size : scores[t]);
    sparse_weights(weights, length), sparse_weights(infinite, 2);
    double total = 0;
    for (long t = 0; t < length; t++) total += weights[t];
    close_to(total, 1, 1e-5 * length, "sum of sparse weights");
    for (long t = 1; t < length; t++) close_to(scores[t] <= scores[t - 1] ? weights[t] <= weights[t - 1] : 1, 1, 0, "order of sparse weights");
    free(scores), free(weights);
}
