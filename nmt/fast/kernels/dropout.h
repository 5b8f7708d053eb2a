/* Dropout whose draws are a pure function of a key and of the place of a number: nothing is kept for the way back. */
#pragma once
#include "vectors.h"

typedef struct {
    uint32_t first, second; /* the key */
    int32_t limit;          /* draws below fall out */
    float scale;            /* of those that stay */
    int32_t none;
} dropout;

static inline dropout dropout_of(uint64_t key, float rate) {
    double share = rate < 0.9999 ? rate : 0.9999;
    int64_t falling = share * 4294967296.0;
    return (dropout){(uint32_t)key, key >> 32, (int32_t)(falling - 2147483648), 4294967296.0 / (4294967296.0 - falling), rate <= 0};
}

/* Numbers at a place and after it, without those that fall out. The draws are a mixing function of 32 bits, by C. Wellons's search for
 * multipliers of little bias. */
INLINE floats thin(floats values, long place, dropout by) {
    if (by.none) return values;
    words lane, draw;
    for (uint32_t i = 0; i < LANES; i++) lane[i] = i;
    draw = (lane + (uint32_t)place) ^ by.first;
    draw = (draw ^ (draw >> 16)) * 0x7feb352du;
    draw ^= by.second;
    draw = (draw ^ (draw >> 15)) * 0x846ca68bu;
    draw ^= draw >> 16;
    ints stays = (ints)draw >= by.limit;
    return (floats)((ints)(values * by.scale) & stays);
}
