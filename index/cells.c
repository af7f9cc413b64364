#include "index/cells.h"

#include "index/memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIST_MIN = 32 /* slots: first capacity of a list */
};

static bool make_centres(struct cell_centres *centres, size_t count, size_t width) {
    centres->rows = memory_map(count * width);
    centres->metas = malloc(count * sizeof(*centres->metas));
    return centres->rows && centres->metas;
}

static void free_centres(struct cell_centres *centres, size_t count, size_t width) {
    memory_unmap(centres->rows, count * width);
    free(centres->metas);
}

/* How many regions there may be: with more, or less, finding cells takes longer. */
static size_t regions_max(size_t cells_count) {
    size_t root = (size_t)sqrt((double)cells_count);
    return root > 0 ? root : 1;
}

bool cells_init(struct cells *cells, const struct store *store, const struct code_space *space,
                const uint32_t *seeds, size_t seeds_count, size_t count) {
    assert(count > 0 && count <= CELLS_MAX && seeds_count > 0);
    size_t width = space->width, regions = regions_max(count);
    *cells = (struct cells){.store = store, .space = *space, .count = count};
    cells->space.metric = CODE_METRIC_L2;
    cells->lists = calloc(count, sizeof(*cells->lists));
    cells->regions = malloc(regions * sizeof(*cells->regions));
    bool has_memory = cells->lists && cells->regions;
    has_memory &= make_centres(&cells->centres, count, width);
    has_memory &= make_centres(&cells->region_centres, regions, width);
    for (size_t i = 0; has_memory && i < count; i++) {
        uint32_t seed = seeds[(2 * i + 1) * seeds_count / (2 * count)];
        memcpy(cells->centres.rows + i * width, store_code(store, seed), width);
        cells->centres.metas[i] = *store_meta(store, seed);
    }
    if (has_memory && cells_sort(cells))
        return true;
    cells_free(cells);
    return false;
}

void cells_free(struct cells *cells) {
    size_t width = cells->space.width;
    for (size_t i = 0; cells->lists && i < cells->count; i++)
        free(cells->lists[i].slots);
    free_centres(&cells->centres, cells->count, width);
    free_centres(&cells->region_centres, regions_max(cells->count), width);
    free(cells->lists);
    free(cells->regions);
    *cells = (struct cells){0};
}

void cells_take_centres(const struct cells *cells, const struct cell_centres *centres, size_t first,
                        size_t count, struct code_block *block) {
    assert(count <= CODES_BATCH_MAX);
    block->count = count;
    for (size_t i = 0; i < count; i++) {
        block->rows[i] = centres->rows + (first + i) * cells->space.width;
        block->scales[i] = centres->metas[first + i].scale;
        block->lengths[i] = centres->metas[first + i].length;
        block->errors[i] = 0;
    }
}

/* ---- Training ---------------------------------------------------------------------------------
 */

/* Sets centre i to the mean of `count` values whose sum is given. */
static void set_mean(const struct cells *cells, struct cell_centres *centres, size_t i, float *sum,
                     uint32_t count, int8_t *codes) {
    size_t width = cells->space.width;
    float error;
    struct code_row row = {
        .code = centres->rows + i * width, .meta = &centres->metas[i], .error = &error};
    for (size_t j = 0; j < width; j++)
        sum[j] /= (float)count;
    codes_encode_values(&cells->space, sum, codes, &row);
}

/* Sums of rows, and how many. */
struct sums {
    size_t bytes;
    float *values;    /* owned: a map */
    uint32_t *counts; /* owned */
    int8_t *codes;    /* owned: a row's, for set_mean */
};

static bool make_sums(struct sums *sums, size_t count, size_t width) {
    *sums = (struct sums){.bytes = count * width * sizeof(float)};
    sums->values = memory_map(sums->bytes);
    sums->counts = calloc(count, sizeof(*sums->counts));
    sums->codes = aligned_alloc(KERNELS_BLOCK, width);
    return sums->values && sums->counts && sums->codes;
}

static void free_sums(struct sums *sums) {
    memory_unmap(sums->values, sums->bytes);
    free(sums->counts);
    free(sums->codes);
}

static void set_means(const struct cells *cells, struct cell_centres *centres, size_t count,
                      struct sums *sums) {
    for (size_t i = 0; i < count; i++)
        if (sums->counts[i] > 0)
            set_mean(cells, centres, i, sums->values + i * cells->space.width, sums->counts[i],
                     sums->codes);
}

bool cells_move(struct cells *cells, const uint32_t *slots, size_t count, const uint16_t *found) {
    const struct store *store = cells->store;
    size_t width = cells->space.width;
    struct sums sums;
    bool has_memory = make_sums(&sums, cells->count, width);
    for (size_t i = 0; has_memory && i < count; i++) {
        if (found[i] == CELLS_NONE)
            continue;
        codes_add_values(&cells->space, store_code(store, slots[i]), *store_meta(store, slots[i]),
                         sums.values + found[i] * width);
        sums.counts[found[i]]++;
    }
    if (has_memory)
        set_means(cells, &cells->centres, cells->count, &sums);
    free_sums(&sums);
    return has_memory;
}

/* ---- Regions ----------------------------------------------------------------------------------
 */

/* What sorting takes. */
struct sorter {
    struct code_query *leaders; /* owned: as many as regions, rounded up to a pass */
    int8_t *codes;              /* owned: the leaders' */
    struct code_block *block;   /* owned */
    uint32_t *region_of;        /* owned: of each cell */
    struct cell_centres sorted; /* owned */
};

static void free_sorter(const struct cells *cells, struct sorter *sorter) {
    free(sorter->leaders);
    free(sorter->codes);
    free(sorter->block);
    free(sorter->region_of);
    free_centres(&sorter->sorted, cells->count, cells->space.width);
}

static bool make_sorter(const struct cells *cells, struct sorter *sorter) {
    size_t width = cells->space.width, regions = regions_max(cells->count);
    size_t passes = (regions + KERNELS_QUERIES - 1) / KERNELS_QUERIES;
    *sorter = (struct sorter){
        .leaders = calloc(passes * KERNELS_QUERIES, sizeof(*sorter->leaders)),
        .codes = aligned_alloc(KERNELS_BLOCK, passes * KERNELS_QUERIES * width),
        .block = malloc(sizeof(*sorter->block)),
        .region_of = malloc(cells->count * sizeof(*sorter->region_of)),
    };
    bool has_memory = make_centres(&sorter->sorted, cells->count, width) && sorter->leaders &&
                      sorter->codes && sorter->block && sorter->region_of;
    for (size_t i = 0; has_memory && i < passes * KERNELS_QUERIES; i++) {
        size_t cell = (i < regions ? i : 0) * cells->count / regions;
        codes_query_lend(&sorter->leaders[i], sorter->codes + i * width, width);
        codes_query_row(&cells->space, cells->centres.rows + cell * width,
                        cells->centres.metas[cell], &sorter->leaders[i]);
    }
    return has_memory;
}

/* To each cell the region whose leader is nearest. */
static void choose_leaders(const struct cells *cells, struct sorter *sorter) {
    struct code_block *block = sorter->block;
    size_t regions = regions_max(cells->count);
    for (size_t first = 0; first < cells->count; first += block->count) {
        float nearest[CODES_BATCH_MAX];
        size_t left = cells->count - first;
        cells_take_centres(cells, &cells->centres, first,
                           left < CODES_BATCH_MAX ? left : CODES_BATCH_MAX, block);
        for (size_t region = 0; region < regions; region++) {
            size_t q = region % KERNELS_QUERIES;
            const struct code_query *queries[KERNELS_QUERIES];
            for (size_t i = 0; q == 0 && i < KERNELS_QUERIES; i++)
                queries[i] = &sorter->leaders[region + i];
            if (q == 0)
                codes_scan(&cells->space, queries, KERNELS_QUERIES, block);
            const float *distances = block->distances + q * CODES_BATCH_MAX;
            for (size_t i = 0; i < block->count; i++) {
                bool is_nearer = region == 0 || distances[i] < nearest[i];
                uint32_t *region_of = &sorter->region_of[first + i];
                *region_of = is_nearer ? (uint32_t)region : *region_of;
                nearest[i] = is_nearer ? distances[i] : nearest[i];
            }
        }
    }
}

/* Gives the regions that have cells their places, and the cells theirs. */
static void place_cells(struct cells *cells, struct sorter *sorter) {
    size_t width = cells->space.width, regions = regions_max(cells->count);
    uint32_t place = 0;
    cells->regions_count = cells->region_max = 0;
    for (uint32_t region = 0; region < regions; region++) {
        uint32_t first = place;
        for (size_t cell = 0; cell < cells->count; cell++) {
            if (sorter->region_of[cell] != region)
                continue;
            memcpy(sorter->sorted.rows + place * width, cells->centres.rows + cell * width, width);
            sorter->sorted.metas[place++] = cells->centres.metas[cell];
        }
        if (place == first)
            continue;
        cells->regions[cells->regions_count++] =
            (struct cell_region){.first = first, .count = place - first};
        if (place - first > cells->region_max)
            cells->region_max = place - first;
    }
    struct cell_centres unsorted = cells->centres;
    cells->centres = sorter->sorted;
    sorter->sorted = unsorted;
}

static void set_region_centres(struct cells *cells, struct sums *sums) {
    size_t width = cells->space.width;
    for (size_t i = 0; i < cells->regions_count; i++) {
        const struct cell_region *region = &cells->regions[i];
        sums->counts[i] = region->count;
        for (uint32_t cell = region->first; cell < region->first + region->count; cell++)
            codes_add_values(&cells->space, cells->centres.rows + cell * width,
                             cells->centres.metas[cell], sums->values + i * width);
    }
    set_means(cells, &cells->region_centres, cells->regions_count, sums);
}

bool cells_sort(struct cells *cells) {
    struct sorter sorter;
    struct sums sums = {0};
    bool has_memory = make_sorter(cells, &sorter) &&
                      make_sums(&sums, regions_max(cells->count), cells->space.width);
    if (has_memory) {
        choose_leaders(cells, &sorter);
        place_cells(cells, &sorter);
        set_region_centres(cells, &sums);
    }
    free_sums(&sums);
    free_sorter(cells, &sorter);
    return has_memory;
}

/* ---- Lists ------------------------------------------------------------------------------------
 */

bool cells_add(struct cells *cells, uint16_t cell, uint32_t slot) {
    struct cell_list *list = &cells->lists[cell];
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : LIST_MIN;
        uint32_t *slots = realloc(list->slots, capacity * sizeof(*slots));
        if (!slots)
            return false;
        list->slots = slots;
        list->capacity = capacity;
    }
    list->slots[list->count++] = slot;
    return true;
}
