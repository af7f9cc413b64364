#include "index/edges.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    HALF_BYTES = 2, /* of an offset */
};

static const float half_max = 0x1p127f; /* what is below rounds to a finite upper half */

/* Steps between levels, of which so many as the bits have err least about a normal coordinate of
 * deviation 1 (Max 1960, table II). One bit needs none. */
static const float best_steps[KERNELS_EDGE_BITS_MAX + 1] = {1, 1, 0.9957f, 0.5860f, 0.3352f};

/* Units of slopes in scales of the node, such that an edge as long as its node has some 32: the
 * coordinates of a node deviate by some 40 scales, since the largest is 127, and f is 1.25 where
 * those of an edge deviate by 1 and have one bit (more bits: Max 1960 again). */
static const float slope_units[KERNELS_EDGE_BITS_MAX + 1] = {0, 1.5f, 0.7f, 0.38f, 0.21f};

static size_t planes_bytes(const struct code_space *space) {
    return 4 * space->edge_bits * space->width;
}

size_t edges_block_bytes(const struct code_space *space) {
    if (space->edge_bits == 0)
        return 0;
    return planes_bytes(space) + (size_t)HALF_BYTES * EDGES_PER_BLOCK;
}

float edges_slope_unit(const struct code_space *space, struct code_meta node, uint8_t power) {
    return slope_units[space->edge_bits] * node.scale *
           (float)((space->metric == CODE_METRIC_L2 ? UINT64_C(2) : UINT64_C(1))
                   << (power & EDGES_POWER_MAX));
}

/* Rounds to the nearest upper half of an f32. */
static uint16_t upper_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

KERNELS_RACING static void store_numbers(const struct code_space *space,
                                         const struct edge_block *block, size_t place, float offset,
                                         uint8_t slope) {
    uint8_t *to = block->planes + planes_bytes(space) + HALF_BYTES * place;
    uint16_t half = upper_half(offset);
    to[0] = (uint8_t)half;
    to[1] = (uint8_t)(half >> 8);
    block->slopes[place] = slope;
}

/* The byte that stands for so many units; above UINT8_MAX where none does, or it is no number. */
static uint32_t slope_byte(float units) {
    float above = units + 1;
    uint32_t bits, half = UINT32_C(1) << (KERNELS_SLOPE_SHIFT - 1);
    memcpy(&bits, &above, sizeof(bits));
    return (bits - KERNELS_SLOPE_ONE + half) >> KERNELS_SLOPE_SHIFT;
}

bool edges_work_reserve(struct edge_work *work, size_t width) {
    if (width <= work->width_max)
        return true;
    edges_work_free(work);
    work->from = aligned_alloc(KERNELS_BLOCK, width * sizeof(*work->from));
    work->r = aligned_alloc(KERNELS_BLOCK, width * sizeof(*work->r));
    work->planes = malloc(KERNELS_EDGE_BITS_MAX * width / 8);
    if (!work->from || !work->r || !work->planes) {
        edges_work_free(work);
        return false;
    }
    work->width_max = width;
    return true;
}

void edges_work_free(struct edge_work *work) {
    free(work->from);
    free(work->r);
    free(work->planes);
    *work = (struct edge_work){0};
}

static void prefetch(const uint8_t *code, size_t width) {
    for (size_t i = 0; i < width; i += KERNELS_BLOCK)
        __builtin_prefetch(code + i);
}

/* One edge of the node that lies in work->from; false if it must stay stale. */
static bool write_edge(const struct code_space *space, const struct edge_end *node,
                       const struct edge_end *neighbour, const struct edge_work *work,
                       struct edge_block *block, size_t place) {
    const struct kernel_edge_ends ends = {.from = work->from,
                                          .to = neighbour->code,
                                          .to_scale = neighbour->meta.scale,
                                          .width = space->width};
    const struct kernel_edge edge = space->kernels->edge_measure(&ends, work->r);
    float step = best_steps[space->edge_bits] * sqrtf(edge.square / (float)space->width);
    struct kernel_edge_levels levels = {.bits = space->edge_bits,
                                        .per_unit = step > 0 ? 1 / step : 0};
    space->kernels->edge_levels(work->from, work->r, space->width, &levels, work->planes);
    float stretch = levels.spread > 0 ? edge.square / levels.spread : 0;
    bool is_l2 = space->metric == CODE_METRIC_L2;
    float slope = is_l2 ? 2 * stretch : stretch;
    float unit = edges_slope_unit(space, node->meta, block->power);
    uint8_t power = block->power;
    while (slope_byte(slope / unit) > UINT8_MAX) {
        if (power++ >= EDGES_POWER_MAX)
            return false;
        unit *= 2;
    }
    uint8_t byte = (uint8_t)slope_byte(slope / unit);
    float offset = is_l2 ? kernels_slope(byte) * unit * levels.from_levels + edge.square
                         : slope * levels.from_levels - edge.from_edge;
    if (!(fabsf(offset) < half_max))
        return false;
    for (size_t bit = 0; bit < space->edge_bits; bit++)
        space->kernels->edge_write(block->planes + 4 * bit * space->width, place,
                                   work->planes + bit * (space->width / 64), space->width);
    store_numbers(space, block, place, offset, byte);
    block->power = power;
    return true;
}

uint32_t edges_write(const struct code_space *space, const struct edge_end *node,
                     const struct edge_end neighbours[EDGES_PER_BLOCK], uint32_t places,
                     struct edge_work *work, struct edge_block *block) {
    uint32_t written = 0;
    assert(space->width <= work->width_max);
    codes_values(space, node->code, node->meta, work->from);
    for (; places != 0; places &= places - 1) {
        size_t place = (size_t)__builtin_ctz(places);
        if (places & (places - 1))
            prefetch(neighbours[__builtin_ctz(places & (places - 1))].code, space->width);
        if (write_edge(space, node, &neighbours[place], work, block, place))
            written |= UINT32_C(1) << place;
    }
    return written;
}

bool edges_want_power(const struct edge_block *block, uint32_t places) {
    for (; places != 0; places &= places - 1) {
        uint8_t slope = block->slopes[__builtin_ctz(places)];
        if (2 * kernels_slope(slope) > kernels_slope(UINT8_MAX))
            return true;
    }
    return false;
}
