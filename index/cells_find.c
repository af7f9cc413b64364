/* The cells near slots: first the nearest regions, then the cells of those.
 *
 * Slots of a piece are looked after together, since several can share a pass over the centres of a
 * region (codes_scan).
 */
#include "index/cells.h"
#include "index/hits.h"
#include "index/search.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Cells that are looked at for each that is wanted, and no fewer: with half and a quarter of
     * these more slots lie in a cell that is not their nearest, and a graph linked by them finds
     * 0.3 points less at ef 48. */
    LOOKED_SHARE = 10,
    LOOKED_MIN = 256,
};

_Static_assert((int)CELLS_TOGETHER <= (int)BITMAP_WORD_BITS,
               "the lanes of a region are a word's bits");

/* What is known of one slot. */
struct lane {
    struct code_query query;
    struct hit *hits; /* regions, then cells */
    size_t count;
};

struct finder {
    const struct cells *cells;
    struct code_block *block;
    size_t looked_at; /* cells for each slot, at least */
    size_t lanes_count;
    struct lane lanes[CELLS_TOGETHER];
    int8_t *codes;     /* owned: the lanes' */
    struct hit *hits;  /* owned: the lanes' */
    uint64_t *wanting; /* owned: of each region, the lanes that look at its cells */
};

static void free_finder(struct finder *finder) {
    if (finder) {
        free(finder->codes);
        free(finder->hits);
        free(finder->wanting);
    }
    free(finder);
}

/* NULL when memory ends. */
static struct finder *make_finder(const struct cells *cells, size_t lanes_count, size_t wanted) {
    struct finder *finder = calloc(1, sizeof(*finder));
    if (!finder)
        return NULL;
    size_t looked_at = LOOKED_SHARE * wanted > LOOKED_MIN ? LOOKED_SHARE * wanted : LOOKED_MIN;
    /* The last region that is looked at may have more cells than are needed. */
    size_t room = looked_at + cells->region_max, width = cells->space.width;
    room = room > cells->regions_count ? room : cells->regions_count;
    finder->cells = cells;
    finder->looked_at = looked_at;
    finder->lanes_count = lanes_count;
    finder->codes = aligned_alloc(KERNELS_BLOCK, lanes_count * width);
    finder->hits = malloc(lanes_count * room * sizeof(*finder->hits));
    finder->wanting = calloc(cells->regions_count, sizeof(*finder->wanting));
    if (!finder->codes || !finder->hits || !finder->wanting) {
        free_finder(finder);
        return NULL;
    }
    for (size_t i = 0; i < lanes_count; i++) {
        finder->lanes[i].hits = finder->hits + i * room;
        codes_query_lend(&finder->lanes[i].query, finder->codes + i * width, width);
    }
    return finder;
}

/* Measures the block's centres, the first of them number `first`, for some lanes. */
static void scan_block(struct finder *finder, size_t first, uint64_t lanes) {
    struct code_block *block = finder->block;
    while (lanes != 0) {
        struct lane *some[KERNELS_QUERIES];
        const struct code_query *queries[KERNELS_QUERIES];
        size_t count = 0;
        for (; lanes != 0 && count < KERNELS_QUERIES; count++)
            some[count] = &finder->lanes[bitmap_take_lowest(&lanes)];
        for (size_t q = 0; q < count; q++)
            queries[q] = &some[q]->query;
        codes_scan(&finder->cells->space, queries, count, block);
        for (size_t q = 0; q < count; q++) {
            const float *distances = block->distances + q * CODES_BATCH_MAX;
            struct hit *hits = some[q]->hits + some[q]->count;
            for (size_t i = 0; i < block->count; i++)
                hits[i] = (struct hit){.slot = (uint32_t)(first + i), .distance = distances[i]};
            some[q]->count += block->count;
        }
    }
}

static void scan(struct finder *finder, const struct cell_centres *centres, size_t first,
                 size_t count, uint64_t lanes) {
    for (size_t end = first + count; first < end; first += CODES_BATCH_MAX) {
        cells_take_centres(finder->cells, centres, first,
                           end - first < CODES_BATCH_MAX ? end - first : CODES_BATCH_MAX,
                           finder->block);
        scan_block(finder, first, lanes);
    }
}

/* Says which regions the lane looks at, from all of them with their distances. */
static void choose_regions(struct finder *finder, size_t number) {
    struct lane *lane = &finder->lanes[number];
    size_t looked_at = 0;
    hits_sort(lane->hits, lane->count);
    for (size_t i = 0; i < lane->count && looked_at < finder->looked_at; i++) {
        finder->wanting[lane->hits[i].slot] |= UINT64_C(1) << number;
        looked_at += finder->cells->regions[lane->hits[i].slot].count;
    }
    lane->count = 0;
}

/* The nearest of the lane's cells, nearest first. */
static void take_nearest(struct lane *lane, size_t wanted, uint16_t *found) {
    struct hit nearest = {.distance = INFINITY};
    float limit;
    if (wanted == 1) {
        for (size_t i = 0; i < lane->count; i++)
            nearest = lane->hits[i].distance < nearest.distance ? lane->hits[i] : nearest;
        lane->hits[0] = nearest;
        lane->count = 1;
    } else {
        lane->count = hits_thin_out(lane->hits, lane->count, wanted + wanted / 2, &limit);
        hits_sort(lane->hits, lane->count);
    }
    for (size_t i = 0; i < wanted; i++)
        found[i] = i < lane->count ? (uint16_t)lane->hits[i].slot : CELLS_NONE;
}

bool cells_find(const struct cells *cells, const uint32_t *slots, size_t count, size_t wanted,
                struct code_block *block, uint16_t *found) {
    assert(count <= CELLS_TOGETHER && wanted >= 1 && wanted <= cells->count);
    if (count == 0)
        return true;
    struct finder *finder = make_finder(cells, count, wanted);
    if (!finder)
        return false;
    finder->block = block;
    for (size_t i = 0; i < count; i++)
        codes_query_row(&cells->space, store_code(cells->store, slots[i]),
                        *store_meta(cells->store, slots[i]), &finder->lanes[i].query);
    scan(finder, &cells->region_centres, 0, cells->regions_count,
         UINT64_MAX >> (BITMAP_WORD_BITS - count));
    for (size_t i = 0; i < count; i++)
        choose_regions(finder, i);
    for (size_t i = 0; i < cells->regions_count; i++)
        if (finder->wanting[i] != 0)
            scan(finder, &cells->centres, cells->regions[i].first, cells->regions[i].count,
                 finder->wanting[i]);
    for (size_t i = 0; i < count; i++)
        take_nearest(&finder->lanes[i], wanted, found + i * wanted);
    free_finder(finder);
    return true;
}
