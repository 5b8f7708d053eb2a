/* Checks of convolutional decoders; a part of check.c. */

/* A row's states do not depend on the rows beside it or on the threads. */
static void check_convolution_step(long sentences, long beam, long hidden, long layers, long reach) {
    long width = 16 * between(1, 3), rows = sentences * beam, longest = between(1, 30), state = layers * reach * hidden;
    int kind = between(FLOATS, HALVES);
    convolution_layer *all_layers = room(layers * sizeof *all_layers);
    const float **values = room(layers * sizeof *values);
    for (long k = 0; k < layers; k++) {
        all_layers[k] = (convolution_layer){random_layer(reach * hidden, 2 * hidden, kind, 0), random_layer(hidden, 2 * hidden, kind, 0),
                                            random_layer(hidden, width, kind, 0)};
        values[k] = random_floats(sentences * longest * hidden);
    }
    float *table = random_floats(20 * width), *keys = random_floats(sentences * longest * width), *place = random_floats(width);
    convolution model = {width, hidden, layers, reach, table, random_layer(width, hidden, kind, 0), random_layer(hidden, width, kind, 0), all_layers};
    int64_t *lengths = room(sentences * 8), *owners = room(sentences * 8), *tokens = room(rows * 8), *origins = room(rows * 8), zero = 0;
    for (long s = 0; s < sentences; s++) lengths[s] = between(1, longest), owners[s] = sentences - 1 - s;
    convolution_sources source = {longest, lengths, keys, values};
    long watched = between(0, sentences - 1), row = watched * beam;
    float *before_ = random_floats(rows * state + 1), *after = room(rows * state * 4), *out = room(rows * width * 4);
    float *single = room(state * 4), *next = room(state * 4), *lone = room(width * 4);
    memcpy(single, before_ + row * state, state * 4);
    for (long t = 0; t < 4; t++) {
        for (long r = 0; r < rows; r++) tokens[r] = between(0, 19), origins[r] = r / beam * beam + (r % beam ? between(0, beam - 1) : 0);
        convolution_call all_rows = {beam, owners, tokens, origins, place, before_, after, out};
        convolution_call own = {1, owners + watched, tokens + row, &zero, place, single, next, lone};
        long threads = between(1, 3);
        float *space = room(nmt_convolution_room(&model, rows, longest, threads) * 4), *small = room(nmt_convolution_room(&model, 1, longest, 1) * 4);
        nmt_convolution_step(&model, &source, &all_rows, rows, threads, space), nmt_convolution_step(&model, &source, &own, 1, 1, small);
        for (long i = 0; i < width; i++) close_to(lone[i], out[row * width + i], 0, "row of a convolutional decoder by itself");
        for (long i = 0; i < state; i++) close_to(next[i], after[row * state + i], 0, "window of a row by itself");
        memcpy(before_, after, rows * state * 4), memcpy(single, next, state * 4), free(space), free(small);
    }
    for (long k = 0; k < layers; k++) {
        free_layer(all_layers[k].past), free_layer(all_layers[k].newest), free_layer(all_layers[k].query), free((void *)values[k]);
    }
    free_layer(model.input), free_layer(model.output), free(all_layers), free(values), free(table), free(keys), free(place), free(lengths);
    free(owners), free(tokens), free(origins), free(before_), free(after), free(out), free(single), free(next), free(lone);
}
