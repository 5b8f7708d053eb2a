/* Recurrent units: one step of some rows, from what is given to their gates and what their last states say. */
#pragma once
#include "products.h"

/* How many gates a unit has. */
enum { GRU = 3, LSTM = 4 };

/* How many vectors are its state: h, and of an LSTM c. */
static inline long state_parts(int unit) { return unit == LSTM ? 2 : 1; }

static inline floats smaller(floats one, floats two) { return -larger(-one, -two); }

/* 1 / (1 + e^-x) */
static inline floats logistic(floats x) { return 1.0f / (1.0f + exponential(smaller(-x, all(87.0f)))); }

/* tanh x = 2 / (1 + e^-2x) - 1 */
static inline floats tangent(floats x) { return 2.0f / (1.0f + exponential(smaller(-2.0f * x, all(87.0f)))) - 1.0f; }

/* e^2x of numbers of which two multiply within single precision; tanh is flat long before. */
static inline floats squared_power(floats x) { return exponential(2.0f * smaller(larger(x, all(-20.0f)), all(20.0f))); }

/* The next state of one row. given, added: (gates * width), what its gates read, in two parts; recurrent: what they make of the
 * last state; before, after: (width) h, then c. The reset gate of a GRU acts after the recurrent product, as in cuDNN. */
INLINE void advance_unit(int unit, long width, const float *given, const float *added, const float *recurrent, const float *before,
                         float *after) {
    for (long i = 0; i < width; i += LANES) {
        floats read[4], past[4];
        for (long gate = 0; gate < unit; gate++) {
            read[gate] = load(given, gate * width + i, 0) + load(added, gate * width + i, 0);
            past[gate] = load(recurrent, gate * width + i, 0);
        }
        if (unit == LSTM) { /* input, forget, cell, output */
            floats cell = logistic(read[1] + past[1]) * load(before, width + i, 0)
                          + logistic(read[0] + past[0]) * tangent(read[2] + past[2]);
            store(after, width + i, cell, 0);
            store(after, i, logistic(read[3] + past[3]) * tangent(cell), 0);
        } else { /* reset, update, new */
            floats reset = logistic(read[0] + past[0]), update = logistic(read[1] + past[1]);
            floats new = tangent(read[2] + reset * past[2]);
            store(after, i, new + update * (load(before, i, 0) - new), 0);
        }
    }
}

static inline void advance(int unit, long width, const float *given, const float *added, const float *recurrent, const float *before,
                           float *after) {
    if (unit == LSTM)
        advance_unit(LSTM, width, given, added, recurrent, before, after);
    else
        advance_unit(GRU, width, given, added, recurrent, before, after);
}
