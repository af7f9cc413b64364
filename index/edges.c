#include "index/edges.h"

#include "index/vector_index.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    HALF_BYTES = 2, /* of an offset or slope */
    SIGN_WORDS_MAX = VECTOR_DIMENSION_MAX / 64
};

static const float half_max = 0x1p127f; /* what is below rounds to a finite upper half */

size_t edges_block_bytes(const struct code_space *space) {
    return 4 * space->width + (size_t)2 * HALF_BYTES * EDGES_PER_BLOCK;
}

/* Rounds to the nearest upper half of an f32. */
static uint16_t upper_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

KERNELS_RACING static void store_half(uint8_t *halves, size_t place, float value) {
    uint16_t half = upper_half(value);
    halves[HALF_BYTES * place] = (uint8_t)half;
    halves[HALF_BYTES * place + 1] = (uint8_t)(half >> 8);
}

bool edges_write(const struct code_space *space, const struct edge_end *node,
                 const struct edge_end *neighbour, uint8_t *block, size_t place) {
    uint64_t signs[SIGN_WORDS_MAX];
    const struct kernel_edge_ends ends = {.from = node->code,
                                          .to = neighbour->code,
                                          .from_scale = node->meta.scale,
                                          .to_scale = neighbour->meta.scale,
                                          .width = space->width};
    assert(place < EDGES_PER_BLOCK && space->width <= VECTOR_DIMENSION_MAX);
    struct kernel_edge edge = space->kernels->edge_measure(&ends, signs);
    float stretch = edge.spread > 0 ? edge.square / edge.spread : 0;
    bool is_l2 = space->metric == CODE_METRIC_L2;
    float slope = is_l2 ? 2 * stretch : stretch;
    float offset = slope * edge.from_sign + (is_l2 ? edge.square : -edge.from_edge);
    if (!(fabsf(offset) < half_max) || !(slope < half_max))
        return false;
    uint8_t *offsets = block + 4 * space->width;
    space->kernels->edge_write(block, place, signs, space->width);
    store_half(offsets, place, offset);
    store_half(offsets + (size_t)HALF_BYTES * EDGES_PER_BLOCK, place, slope);
    return true;
}
