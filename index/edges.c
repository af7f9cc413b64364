#include "index/edges.h"

#include "index/vector_index.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    HALF_BYTES = 2, /* of an offset or slope */
    PLANE_WORDS_MAX = VECTOR_DIMENSION_MAX / 64
};

static const float half_max = 0x1p127f; /* what is below rounds to a finite upper half */

/* Steps between levels, of which so many as the bits have err least about a normal coordinate of
 * deviation 1 (Max 1960, table II). One bit needs none. */
static const float best_steps[KERNELS_EDGE_BITS_MAX + 1] = {1, 1, 0.9957f, 0.5860f, 0.3352f};

static size_t planes_bytes(const struct code_space *space) {
    return 4 * space->edge_bits * space->width;
}

size_t edges_block_bytes(const struct code_space *space) {
    if (space->edge_bits == 0)
        return 0;
    return planes_bytes(space) + (size_t)2 * HALF_BYTES * EDGES_PER_BLOCK;
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
    KERNELS_FILLED uint64_t planes[KERNELS_EDGE_BITS_MAX * PLANE_WORDS_MAX]; /* 32 KiB */
    const struct kernel_edge_ends ends = {.from = node->code,
                                          .to = neighbour->code,
                                          .from_scale = node->meta.scale,
                                          .to_scale = neighbour->meta.scale,
                                          .width = space->width};
    assert(place < EDGES_PER_BLOCK && space->width <= VECTOR_DIMENSION_MAX);
    const struct kernel_edge edge = space->kernels->edge_measure(&ends);
    float step = best_steps[space->edge_bits] * sqrtf(edge.square / (float)space->width);
    struct kernel_edge_levels levels = {.bits = space->edge_bits,
                                        .per_unit = step > 0 ? 1 / step : 0};
    space->kernels->edge_levels(&ends, &levels, planes);
    float stretch = levels.spread > 0 ? edge.square / levels.spread : 0;
    bool is_l2 = space->metric == CODE_METRIC_L2;
    float slope = is_l2 ? 2 * stretch : stretch;
    float offset = slope * levels.from_levels + (is_l2 ? edge.square : -edge.from_edge);
    if (!(fabsf(offset) < half_max) || !(slope < half_max))
        return false;
    uint8_t *offsets = block + planes_bytes(space);
    for (size_t bit = 0; bit < space->edge_bits; bit++)
        space->kernels->edge_write(block + 4 * bit * space->width, place,
                                   planes + bit * (space->width / 64), space->width);
    store_half(offsets, place, offset);
    store_half(offsets + (size_t)HALF_BYTES * EDGES_PER_BLOCK, place, slope);
    return true;
}
