/* rotation.h -- a fixed random rotation that spreads each coordinate over the whole vector.
 *
 * Codes of a few bits need vectors without outlier coordinates. Four rounds of random signs and a
 * Hadamard transform, on the first and the last power-of-two window by turns, equal a dense random
 * rotation at a hundredth of its price, and need no padding beyond a multiple of 64.
 *
 * It keeps dot products and Euclidean distances, not Manhattan ones. Immutable after _init: any
 * thread. The signs follow from the width alone, so an image of codes stays valid.
 */
#ifndef ROTATION_H
#define ROTATION_H

#include "index/kernels.h"

#include <stdbool.h>

enum {
    ROTATION_ROUNDS = 4,
    ROTATION_WIDTH_MAX = 65536,
};

struct rotation {
    size_t dimension; /* of the vectors */
    size_t width;     /* dimension rounded up to a multiple of 64 */
    size_t window;    /* largest power of two <= width */
    uint64_t *signs;  /* ROTATION_ROUNDS times width bits; owned */
    double error;     /* |computed - true| <= error * |vector|, from rounding */
};

static inline size_t rotation_width(size_t dimension) {
    return (dimension + KERNELS_BLOCK - 1) / KERNELS_BLOCK * KERNELS_BLOCK;
}

/* False when memory ends; _free is allowed also then. */
bool rotation_init(struct rotation *rotation, size_t dimension);
void rotation_free(struct rotation *rotation);

/* vector has `dimension` numbers, rotated gets `width`. */
void rotation_apply(const struct rotation *rotation, const struct kernels *kernels,
                    const float *vector, float *rotated);

#endif
