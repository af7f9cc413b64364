#include "index/edges.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    HALF_BYTES = 2, /* of an offset or slope */
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

/* One edge of the node that lies in work->from. */
static bool write_edge(const struct code_space *space, const struct edge_end *neighbour,
                       const struct edge_work *work, uint8_t *block, size_t place) {
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
    float offset = slope * levels.from_levels + (is_l2 ? edge.square : -edge.from_edge);
    if (!(fabsf(offset) < half_max) || !(slope < half_max))
        return false;
    uint8_t *offsets = block + planes_bytes(space);
    for (size_t bit = 0; bit < space->edge_bits; bit++)
        space->kernels->edge_write(block + 4 * bit * space->width, place,
                                   work->planes + bit * (space->width / 64), space->width);
    store_half(offsets, place, offset);
    store_half(offsets + (size_t)HALF_BYTES * EDGES_PER_BLOCK, place, slope);
    return true;
}

uint32_t edges_write(const struct code_space *space, const struct edge_end *node,
                     const struct edge_end neighbours[EDGES_PER_BLOCK], uint32_t places,
                     struct edge_work *work, uint8_t *block) {
    uint32_t written = 0;
    assert(space->width <= work->width_max);
    codes_values(space, node->code, node->meta, work->from);
    for (; places != 0; places &= places - 1) {
        size_t place = (size_t)__builtin_ctz(places);
        if (places & (places - 1))
            prefetch(neighbours[__builtin_ctz(places & (places - 1))].code, space->width);
        if (write_edge(space, &neighbours[place], work, block, place))
            written |= UINT32_C(1) << place;
    }
    return written;
}
