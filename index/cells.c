#include "index/cells.h"

#include "index/hits.h"
#include "index/memory.h"
#include "index/search.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIST_MIN = 32 /* slots: first capacity of a list */
};

bool cells_init(struct cells *cells, const struct store *store, const struct code_space *space,
                const uint32_t *seeds, size_t seeds_count, size_t count) {
    assert(count % KERNELS_QUERIES == 0 && count <= CELLS_MAX && seeds_count > 0);
    size_t width = space->width;
    *cells = (struct cells){.store = store,
                            .space = *space,
                            .count = count,
                            .rows = memory_map(count * width),
                            .metas = malloc(count * sizeof(*cells->metas)),
                            .codes = memory_map(count * width),
                            .queries = calloc(count, sizeof(*cells->queries)),
                            .lists = calloc(count, sizeof(*cells->lists)),
                            .order = malloc(count * sizeof(*cells->order))};
    cells->space.metric = CODE_METRIC_L2;
    if (!cells->rows || !cells->metas || !cells->codes || !cells->queries || !cells->lists ||
        !cells->order) {
        cells_free(cells);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t seed = seeds[(2 * i + 1) * seeds_count / (2 * count)];
        memcpy(cells->rows + i * width, store_code(store, seed), width);
        cells->metas[i] = *store_meta(store, seed);
        codes_query_lend(&cells->queries[i], cells->codes + i * width, width);
        codes_query_row(&cells->space, cells->rows + i * width, cells->metas[i],
                        &cells->queries[i]);
    }
    return true;
}

void cells_free(struct cells *cells) {
    for (size_t i = 0; cells->lists && i < cells->count; i++)
        free(cells->lists[i].slots);
    memory_unmap(cells->rows, cells->count * cells->space.width);
    memory_unmap(cells->codes, cells->count * cells->space.width);
    free(cells->metas);
    free(cells->queries);
    free(cells->lists);
    free(cells->order);
    *cells = (struct cells){0};
}

void cells_assign(const struct cells *cells, const uint32_t *slots, size_t count,
                  struct code_block *work, uint16_t *found) {
    float nearest[CODES_BATCH_MAX];
    assert(count <= CODES_BATCH_MAX);
    work->count = 0;
    for (size_t i = 0; i < count; i++) {
        search_block_add(cells->store, work, slots[i]);
        nearest[i] = INFINITY;
        found[i] = 0;
    }
    for (size_t cell = 0; cell < cells->count; cell += KERNELS_QUERIES) {
        const struct code_query *queries[KERNELS_QUERIES];
        for (size_t q = 0; q < KERNELS_QUERIES; q++)
            queries[q] = &cells->queries[cell + q];
        codes_scan(&cells->space, queries, KERNELS_QUERIES, work);
        for (size_t q = 0; q < KERNELS_QUERIES; q++) {
            const float *distances = work->distances + q * CODES_BATCH_MAX;
            for (size_t i = 0; i < count; i++) { /* without branches: it takes a quarter of it */
                bool is_nearer = distances[i] < nearest[i];
                found[i] = is_nearer ? (uint16_t)(cell + q) : found[i];
                nearest[i] = is_nearer ? distances[i] : nearest[i];
            }
        }
    }
}

bool cells_move(struct cells *cells, const uint32_t *slots, size_t count, const uint16_t *found) {
    const struct store *store = cells->store;
    size_t width = cells->space.width;
    size_t bytes = cells->count * width * sizeof(float);
    float *sums = memory_map(bytes);
    uint32_t *counts = calloc(cells->count, sizeof(*counts));
    bool has_memory = sums && counts;
    for (size_t i = 0; has_memory && i < count; i++) {
        if (found[i] == CELLS_NONE)
            continue;
        codes_add_values(&cells->space, store_code(store, slots[i]), *store_meta(store, slots[i]),
                         sums + found[i] * width);
        counts[found[i]]++;
    }
    for (size_t i = 0; has_memory && i < cells->count; i++) {
        float *mean = sums + i * width, error;
        uint8_t *row = cells->rows + i * width;
        struct code_row encoded = {.code = row, .meta = &cells->metas[i], .error = &error};
        if (counts[i] == 0)
            continue;
        for (size_t j = 0; j < width; j++)
            mean[j] /= (float)counts[i];
        codes_encode_values(&cells->space, mean, cells->codes + i * width, &encoded);
        codes_query_row(&cells->space, row, cells->metas[i], &cells->queries[i]);
    }
    memory_unmap(sums, bytes);
    free(counts);
    return has_memory;
}

bool cells_sort(struct cells *cells) {
    size_t leaders = (size_t)sqrt((double)cells->count);
    struct hit *hits = malloc(cells->count * sizeof(*hits));
    if (!hits)
        return false;
    for (size_t i = 0; i < cells->count; i++) {
        float nearest = INFINITY;
        hits[i] = (struct hit){.slot = (uint32_t)i};
        for (size_t leader = 0; leader < leaders; leader++) {
            float distance =
                codes_distance(&cells->space, &cells->queries[leader * cells->count / leaders],
                               cells->rows + i * cells->space.width, cells->metas[i]);
            if (distance >= nearest)
                continue;
            nearest = distance;
            hits[i].distance = (float)leader;
        }
    }
    hits_sort(hits, cells->count);
    for (size_t i = 0; i < cells->count; i++)
        cells->order[hits[i].slot] = (uint16_t)i;
    free(hits);
    return true;
}

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

/* Puts centres from `first` on into the block. */
static void take_centres(const struct cells *cells, size_t first, struct code_block *block) {
    size_t left = cells->count - first;
    block->count = left < CODES_BATCH_MAX ? left : CODES_BATCH_MAX;
    for (size_t i = 0; i < block->count; i++) {
        block->rows[i] = cells->rows + (first + i) * cells->space.width;
        block->scales[i] = cells->metas[first + i].scale;
        block->lengths[i] = cells->metas[first + i].length;
        block->errors[i] = 0;
    }
}

void cells_find(const struct cells *cells, const uint32_t *slots, size_t count, size_t wanted,
                struct cells_work *work, uint16_t *found) {
    const struct code_query *queries[KERNELS_QUERIES];
    assert(count > 0 && count <= KERNELS_QUERIES && wanted <= cells->count);
    for (size_t q = 0; q < KERNELS_QUERIES; q++) {
        uint32_t slot = slots[q < count ? q : 0];
        codes_query_row(&cells->space, store_code(cells->store, slot),
                        *store_meta(cells->store, slot), work->queries[q]);
        queries[q] = work->queries[q];
    }
    for (size_t first = 0; first < cells->count; first += CODES_BATCH_MAX) {
        take_centres(cells, first, work->block);
        codes_scan(&cells->space, queries, KERNELS_QUERIES, work->block);
        for (size_t q = 0; q < count; q++)
            for (size_t i = 0; i < work->block->count; i++)
                work->hits[q * cells->count + first + i] =
                    (struct hit){.slot = (uint32_t)(first + i),
                                 .distance = work->block->distances[q * CODES_BATCH_MAX + i]};
    }
    for (size_t q = 0; q < count; q++) {
        struct hit *hits = work->hits + q * cells->count;
        float limit;
        size_t kept = hits_thin_out(hits, cells->count, wanted + wanted / 2, &limit);
        hits_sort(hits, kept);
        for (size_t i = 0; i < wanted; i++)
            found[q * wanted + i] = i < kept ? (uint16_t)hits[i].slot : CELLS_NONE;
    }
}
