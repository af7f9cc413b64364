/* What is near a group of slots: a pass over the cells near them, and what it makes of it. */
#include "index/hits.h"
#include "index/hnsw.h"
#include "index/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS = HNSW_GROUP_MAX / BITMAP_WORD_BITS,
    ROOM_SHARE = 4,  /* hits are cut to the nearest once there are so many times as many */
    SPARE_SHARE = 4, /* a share 1 / so many more than candidates, since some still wait */
    ROWS_SHARE = 2,  /* of so many times as many rows as cells have on average ... */
    ROWS_MIN = 1024, /* ... and of no less, no slot is compared with more */
    EXPANDED = 8,    /* candidates whose links are followed: 0 finds too little of what lies across
                        the border of a cell that was not looked at, 32 nothing more */
};

/* What is known of one slot. */
struct lane {
    struct hit *hits; /* room for all */
    size_t count;
    float limit; /* hits beyond it are of no use */
    struct code_query query;
};

/* Bit per slot of the group. */
struct lane_set {
    uint64_t words[WORDS];
};

struct group_memory {
    size_t width, wanted, room; /* of codes; hits of a slot in the end, and on the way */
    size_t cells_count;         /* for which there is room */
    struct lane lanes[HNSW_GROUP_MAX];
    /* Maps of their own, which go back to the system whole: an allocator would keep them. */
    struct hit *hits;
    int8_t *codes;         /* HNSW_GROUP_MAX rows */
    struct lane_set *sets; /* of each cell, who is compared with it; zero between groups */
    uint16_t *cells;       /* that somebody is compared with */
};

/* Bytes of the maps. */
static size_t hits_bytes(const struct group_memory *memory) {
    return HNSW_GROUP_MAX * memory->room * sizeof(*memory->hits);
}

static size_t codes_bytes(const struct group_memory *memory) {
    return HNSW_GROUP_MAX * memory->width;
}

static size_t sets_bytes(const struct group_memory *memory) {
    return memory->cells_count * sizeof(*memory->sets);
}

static void free_memory(struct group_memory *memory) {
    if (!memory)
        return;
    memory_unmap(memory->hits, hits_bytes(memory));
    memory_unmap(memory->codes, codes_bytes(memory));
    memory_unmap(memory->sets, sets_bytes(memory));
    free(memory->cells);
    free(memory);
}

void hnsw_group_free(struct hnsw_group *group) {
    if (!group)
        return;
    free_memory(group->memory);
    free(group);
}

static struct group_memory *make_memory(size_t width, size_t wanted, size_t cells_count) {
    struct group_memory *memory = calloc(1, sizeof(*memory));
    if (!memory)
        return NULL;
    memory->width = width;
    memory->wanted = wanted;
    memory->room = ROOM_SHARE * wanted + BITMAP_WORD_BITS;
    memory->cells_count = cells_count;
    memory->hits = memory_map(hits_bytes(memory));
    memory->codes = memory_map(codes_bytes(memory));
    memory->sets = memory_map(sets_bytes(memory));
    memory->cells = malloc(cells_count * sizeof(*memory->cells));
    if (!memory->hits || !memory->codes || !memory->sets || !memory->cells) {
        free_memory(memory);
        return NULL;
    }
    for (size_t i = 0; i < HNSW_GROUP_MAX; i++) {
        memory->lanes[i].hits = memory->hits + i * memory->room;
        codes_query_lend(&memory->lanes[i].query, memory->codes + i * width, width);
    }
    return memory;
}

bool hnsw_group_reserve(struct hnsw_group *group, const struct hnsw *hnsw) {
    const struct group_memory *memory = group->memory;
    size_t wanted = hnsw->ef_construct + hnsw->ef_construct / SPARE_SHARE;
    if (memory && memory->width == hnsw->space->width && memory->wanted == wanted &&
        memory->cells_count >= hnsw->bulk.cells.count)
        return true;
    free_memory(group->memory);
    group->memory = make_memory(hnsw->space->width, wanted, hnsw->bulk.cells.count);
    return group->memory;
}

/* Tells each cell who is compared with it; the number of cells. Those come first that are the
 * nearest of somebody, then the second nearest, ...: so limits fall early. */
static size_t choose_cells(struct hnsw_group *group, const struct hnsw *hnsw) {
    const struct hnsw_bulk *bulk = &hnsw->bulk;
    struct group_memory *memory = group->memory;
    size_t rows[HNSW_GROUP_MAX] = {0}, count = 0;
    size_t rows_max = ROWS_SHARE * bulk->wanted * bulk->members / bulk->cells.count;
    rows_max = rows_max > ROWS_MIN ? rows_max : ROWS_MIN;
    for (size_t i = 0; i < bulk->wanted; i++) {
        for (size_t lane = 0; lane < group->count; lane++) {
            uint16_t cell = group->found[lane][i];
            if (cell == CELLS_NONE || rows[lane] > rows_max)
                continue;
            rows[lane] += bulk->cells.lists[cell].count;
            struct lane_set *set = &memory->sets[cell];
            bool is_new = true;
            for (size_t word = 0; word < WORDS; word++)
                is_new &= set->words[word] == 0;
            if (is_new)
                memory->cells[count++] = cell;
            set->words[lane / BITMAP_WORD_BITS] |= UINT64_C(1) << lane % BITMAP_WORD_BITS;
        }
    }
    return count;
}

/* Keeps what is near enough of a block that was measured for the lane. */
static void take_hits(const struct hnsw *hnsw, struct group_memory *memory, struct lane *lane,
                      const struct code_block *block, size_t query) {
    const float *distances = block->distances + query * CODES_BATCH_MAX;
    for (size_t first = 0; first < block->count; first += BITMAP_WORD_BITS) {
        uint64_t near = hnsw->space->kernels->not_above(distances + first, lane->limit);
        size_t left = block->count - first;
        if (left < BITMAP_WORD_BITS) /* beyond lies what is left of other blocks */
            near &= (UINT64_C(1) << left) - 1;
        while (near) {
            size_t i = first + bitmap_take_lowest(&near);
            lane->hits[lane->count++] =
                (struct hit){.slot = block->slots[i], .distance = distances[i]};
        }
        if (lane->count > memory->room - BITMAP_WORD_BITS)
            lane->count = hits_thin_out(lane->hits, lane->count, memory->wanted, &lane->limit);
    }
}

/* Compares a block with the lanes that asked for its cell. */
static void measure_block(const struct hnsw *hnsw, struct group_memory *memory,
                          const struct lane_set *set, struct code_block *block) {
    struct lane_set left = *set;
    size_t word = 0;
    while (word < WORDS) {
        struct lane *lanes[KERNELS_QUERIES];
        const struct code_query *queries[KERNELS_QUERIES];
        size_t count = 0;
        while (word < WORDS && count < KERNELS_QUERIES) {
            if (left.words[word] == 0)
                word++;
            else
                lanes[count++] =
                    &memory->lanes[word * BITMAP_WORD_BITS + bitmap_take_lowest(&left.words[word])];
        }
        if (count == 0)
            return;
        for (size_t i = 0; i < count; i++)
            queries[i] = &lanes[i]->query;
        codes_scan(hnsw->space, queries, count, block);
        for (size_t i = 0; i < count; i++)
            take_hits(hnsw, memory, lanes[i], block, i);
    }
}

/* What is asked of each slot of a list lies here and there, like its row: together they come soon.
 */
static void prefetch_list(const struct store *store, const struct cell_list *list) {
    for (uint32_t i = 0; i < list->count; i++) {
        memory_prefetch(store_node(store, list->slots[i]), 1);
        memory_prefetch(store_meta(store, list->slots[i]), 1);
    }
}

static void measure_cell(const struct hnsw *hnsw, struct group_memory *memory, uint16_t cell,
                         struct code_block *block) {
    const struct cell_list *list = &hnsw->bulk.cells.lists[cell];
    block->count = 0;
    prefetch_list(hnsw->store, list);
    for (uint32_t i = 0; i < list->count; i++) {
        /* Also what waits: the group's own slots are linked one after the other. */
        if (hnsw_bulk_may_read(hnsw->store, list->slots[i]))
            search_block_add(hnsw->store, block, list->slots[i]);
        if (block->count == CODES_BATCH_MAX || (i + 1 == list->count && block->count > 0)) {
            measure_block(hnsw, memory, &memory->sets[cell], block);
            block->count = 0;
        }
    }
    memory->sets[cell] = (struct lane_set){0};
}

void hnsw_group_measure(struct hnsw_group *group, const struct hnsw *hnsw,
                        struct index_scratch *scratch) {
    struct group_memory *memory = group->memory;
    group->unlinked = atomic_load_explicit(&hnsw->unlinked, memory_order_acquire);
    for (size_t i = 0; i < group->count; i++) {
        struct lane *lane = &memory->lanes[i];
        codes_query_row(hnsw->space, store_code(hnsw->store, group->slots[i]),
                        *store_meta(hnsw->store, group->slots[i]), &lane->query);
        lane->count = 0;
        lane->limit = INFINITY;
    }
    size_t cells_count = choose_cells(group, hnsw);
    for (size_t i = 0; i < cells_count; i++) {
        measure_cell(hnsw, memory, memory->cells[i], &scratch->block);
        scratch_offer_core(scratch);
    }
    for (size_t i = 0; i < group->count; i++) {
        struct lane *lane = &memory->lanes[i];
        lane->count = hits_thin_out(lane->hits, lane->count, memory->wanted, &lane->limit);
    }
}

/* ---- Candidates -------------------------------------------------------------------------------
 */

/* False if the slot has another code by now than when it was measured. */
static bool is_current(const struct hnsw_group *group, const struct lane *lane,
                       const struct code_query *query) {
    const struct code_query *measured = &lane->query;
    return measured->scale >= query->scale && measured->scale <= query->scale &&
           memcmp(measured->kernel.codes, query->kernel.codes, group->memory->width) == 0;
}

/* Adds what is linked by now and was not added before. */
static void add_hits(struct walk *walk, uint32_t slot, const struct lane *lane) {
    const struct store *store = walk->hnsw->store;
    struct visited *visited = &walk->scratch->visited;
    for (size_t i = 0; i < lane->count; i++) {
        struct hit hit = lane->hits[i];
        /* A slot that was used again may stand in two cells. */
        if (hit.slot != slot && store_is_linked(store, hit.slot) &&
            !store_is_leaving(store, hit.slot) && visited_add(visited, hit.slot))
            walk->pool[walk->count++] = hit;
    }
}

/* Slots were unlinked since the group was measured: a hit may have another code by now. */
static void measure_again(struct walk *walk) {
    struct code_batch *batch = &walk->scratch->batch;
    for (size_t first = 0; first < walk->count; first += batch->count) {
        batch->count = 0;
        while (first + batch->count < walk->count && batch->count < CODES_BATCH_MAX)
            search_batch_add(walk->hnsw->store, batch, walk->pool[first + batch->count].slot);
        codes_distances(walk->hnsw->space, walk->query, batch);
        for (size_t i = 0; i < batch->count; i++)
            walk->pool[first + i].distance = batch->distances[i];
    }
}

bool hnsw_group_candidates(struct walk *walk, const struct hnsw_group *group, uint32_t slot) {
    const struct hnsw *hnsw = walk->hnsw;
    const struct lane *lane = &group->memory->lanes[group->next - 1];
    if (!is_current(group, lane, walk->query) || !hnsw_walk_reserve(walk, lane->count))
        return false;
    visited_begin(&walk->scratch->visited);
    walk->count = 0;
    add_hits(walk, slot, lane);
    if (group->unlinked != atomic_load_explicit(&hnsw->unlinked, memory_order_acquire))
        measure_again(walk);
    hits_sort(walk->pool, walk->count);
    walk->count = walk->count < walk->ef ? walk->count : walk->ef;
    if (walk->count == 0)
        return false;
    hnsw_walk_refine(walk, EXPANDED);
    return true;
}
