/* The walks of the graph that know no filter.
 *
 * The pool is a sorted array with a cursor at the nearest node that was not expanded yet. Inserting
 * moves some hundred bytes, which is cheaper than two heaps at the sizes that matter.
 */
#include "index/hnsw.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    LINE = 64,               /* bytes of a cache line */
    PREFETCHED = 4,          /* rows asked for while the batch is gathered; kernels go on */
    PREFETCHED_BYTES = 1024, /* of each: what follows comes by itself */
    RANKED_MAX = 256,        /* hits of the pool that are compared at once */
    TOGETHER = 3,         /* nodes that are expanded at once: more rows are on their way, while the
                             walk chooses a little worse */
    EDGES_FROM_LEVEL = 2, /* from which walks by edges enter level 0: further down costs more */
};

#define EXPANDED UINT32_C(0x80000000) /* in the slot of a hit of the pool */

bool hnsw_walk_init(struct walk *walk, const struct hnsw *hnsw, struct index_scratch *scratch,
                    size_t ef) {
    if (!scratch_reserve_hits(&scratch->pool, ef + 1 + CODES_BATCH_MAX) ||
        (hnsw->store->edge_blocks > 0 && !bucket_queue_reserve(&scratch->queue, ef)))
        return false;
    *walk = (struct walk){.hnsw = hnsw,
                          .query = &scratch->query,
                          .scratch = scratch,
                          .pool = scratch->pool.items,
                          .ef = ef,
                          .kept_max = ef};
    return true;
}

bool hnsw_walk_reserve(struct walk *walk, size_t count) {
    if (!scratch_reserve_hits(&walk->scratch->pool, count + 1 + CODES_BATCH_MAX))
        return false;
    walk->pool = walk->scratch->pool.items;
    return true;
}

/* How many of the pool are not beyond the distance. Comparing with hundreds side by side is faster
 * than halving the pool further, of which a processor guesses every second step wrong. */
static inline size_t rank_of(const struct walk *walk, float distance) {
    const struct hit *pool = walk->pool;
    size_t low = 0, count = walk->count;
    while (count > RANKED_MAX) {
        size_t half = count / 2;
        bool is_beyond = pool[low + half].distance <= distance;
        low += is_beyond ? half + 1 : 0;
        count = is_beyond ? count - half - 1 : half;
    }
    return low + walk->hnsw->space->kernels->rank(pool + low, count, distance);
}

/* Inserts a hit that is nearer than the last, or finds room; returns its place. */
static inline size_t insert(struct walk *walk, struct hit hit) {
    struct hit *pool = walk->pool;
    if (walk->count == walk->ef)
        walk->count--;
    size_t low = rank_of(walk, hit.distance);
    memmove(&pool[low + 1], &pool[low], (walk->count - low) * sizeof(pool[0]));
    pool[low] = hit;
    walk->count++;
    return low;
}

size_t hnsw_walk_insert(struct walk *walk, struct hit hit) {
    return insert(walk, hit);
}

/* The neighbours that the walk meets for the first time. Without branches: about half of them are
 * new, in no order that a processor could guess, and each wrong guess would throw away the loads
 * that are under way. */
static inline size_t gather_slots(struct walk *walk, const _Atomic uint32_t *list, uint32_t places,
                                  uint32_t *slots) {
    struct visited *visited = &walk->scratch->visited;
    uint64_t *words = visited->words;
    uint32_t limit = visited->capacity;
    size_t count = 0, room = VISITED_MARKED_MAX - 1 - visited->marked_count;
    uint32_t *marked = visited->marked + visited->marked_count;
    for (uint32_t i = 0; i < places; i++) {
        uint32_t neighbour = atomic_load_explicit(&list[i], memory_order_acquire) & ~HNSW_KEPT;
        /* Fillers and empty places lie above every limit, as do slots born after the walk began:
         * they mark the place behind the last slot. */
        bool is_known = neighbour < limit;
        uint32_t place = is_known ? neighbour : limit, word = place / VISITED_PER_WORD;
        uint64_t bit = UINT64_C(1) << 2 * (place % VISITED_PER_WORD), before = words[word];
        slots[count] = neighbour;
        marked[count < room ? count : room] = word;
        count += is_known & ((before & bit) == 0);
        words[word] = before | bit;
    }
    visited->marked_count += count < room ? count : room;
    return count;
}

/* Puts the neighbours that the walk meets for the first time into the batch, behind what is there.
 */
static inline void gather(struct walk *walk, uint32_t slot) {
    const struct store *store = walk->hnsw->store;
    struct code_batch *batch = &walk->scratch->batch;
    size_t bytes = store->code_bytes - walk->hnsw->space->pairs * KERNELS_BLOCK, i = batch->count;
    batch->count += gather_slots(walk, hnsw_list(walk->hnsw, slot, walk->level),
                                 hnsw_places(walk->hnsw, walk->level), batch->slots + i);
    for (; i < batch->count; i++) {
        uint32_t neighbour = batch->slots[i];
        const uint8_t *row = store_code(store, neighbour);
        batch->rows[i] = row;
        batch->metas[i] = store_meta(store, neighbour);
        __builtin_prefetch(batch->metas[i]);
        if (i < PREFETCHED) {
            for (size_t byte = 0; byte < bytes && byte < PREFETCHED_BYTES; byte += LINE)
                __builtin_prefetch(row + byte);
        }
    }
}

/* Asks for the list of a node of the pool that is one of the next. */
static inline void prefetch_list(const struct walk *walk, size_t place) {
    const struct hnsw *hnsw = walk->hnsw;
    const char *list = (const char *)hnsw_list(hnsw, walk->pool[place].slot, walk->level);
    for (uint32_t i = 0; i < hnsw_places(hnsw, walk->level); i += LINE / sizeof(uint32_t))
        __builtin_prefetch(list + i * sizeof(uint32_t));
}

void hnsw_walk_take(struct walk *walk, hnsw_accepts_fn *accepts) {
    struct code_batch *batch = &walk->scratch->batch;
    float worst = walk->count == walk->ef ? walk->pool[walk->count - 1].distance : INFINITY;
    size_t halved = codes_distances_below(walk->hnsw->space, walk->query, batch, worst);
    walk->scored += batch->count;
    if (walk->search)
        walk->search->halved += halved;
    uint32_t *nearer = walk->scratch->nearer;
    size_t nearer_count = 0;
    /* Without branches, since no processor could guess them. */
    for (uint32_t i = 0; i < batch->count; i++) {
        nearer[nearer_count] = i;
        nearer_count += batch->distances[i] < worst;
    }
    for (size_t i = 0; i < nearer_count; i++) {
        struct hit hit = {.slot = batch->slots[nearer[i]], .distance = batch->distances[nearer[i]]};
        if (walk->count == walk->ef && hit.distance >= walk->pool[walk->count - 1].distance)
            continue;
        if (accepts && !accepts(walk, hit.slot))
            continue;
        size_t place = insert(walk, hit);
        if (place < walk->cursor + TOGETHER)
            prefetch_list(walk, place); /* while the rest of the batch is inserted */
        if (place < walk->cursor)
            walk->cursor = place;
    }
}

bool hnsw_walk_next(struct walk *walk, uint32_t *slot) {
    while (walk->cursor < walk->count && (walk->pool[walk->cursor].slot & EXPANDED))
        walk->cursor++;
    if (walk->cursor == walk->count)
        return false;
    *slot = walk->pool[walk->cursor].slot;
    walk->pool[walk->cursor++].slot |= EXPANDED;
    return true;
}

/* Measures the neighbours of the nearest nodes that were not expanded yet, of at most `max` of them
 * together; returns of how many. */
static inline size_t expand_next(struct walk *walk, size_t max) {
    struct code_batch *batch = &walk->scratch->batch;
    size_t expanded = 0, room = CODES_BATCH_MAX - hnsw_places(walk->hnsw, walk->level);
    uint32_t slot;
    batch->count = 0;
    while (expanded < max && batch->count <= room && hnsw_walk_next(walk, &slot)) {
        gather(walk, slot);
        expanded++;
    }
    /* Unless nearer ones turn up, these are next. */
    for (size_t i = walk->cursor; i < walk->cursor + TOGETHER && i < walk->count; i++) {
        if (!(walk->pool[i].slot & EXPANDED))
            prefetch_list(walk, i);
    }
    if (expanded > 0)
        hnsw_walk_take(walk, NULL);
    return expanded;
}

void hnsw_walk_end(struct walk *walk) {
    for (size_t i = 0; i < walk->count; i++)
        walk->pool[i].slot &= ~EXPANDED;
}

struct hit hnsw_walk_descend(struct walk *walk, uint64_t entry, uint32_t level) {
    struct code_batch *batch = &walk->scratch->batch;
    struct hit best = {.slot = hnsw_entry_slot(entry)};
    batch->count = 0;
    search_batch_add(walk->hnsw->store, batch, best.slot);
    codes_distances(walk->hnsw->space, walk->query, batch);
    best.distance = batch->distances[0];
    for (walk->level = hnsw_entry_level(entry); walk->level > level; walk->level--) {
        uint32_t from;
        visited_begin(&walk->scratch->visited);
        do {
            from = best.slot;
            batch->count = 0;
            gather(walk, from);
            codes_distances(walk->hnsw->space, walk->query, batch);
            walk->scored += batch->count;
            for (size_t i = 0; i < batch->count; i++) {
                if (batch->distances[i] < best.distance)
                    best = (struct hit){.slot = batch->slots[i], .distance = batch->distances[i]};
            }
        } while (best.slot != from);
    }
    return best;
}

void hnsw_walk_add_seeds(struct walk *walk) {
    const struct hnsw *hnsw = walk->hnsw;
    struct visited *visited = &walk->scratch->visited;
    uint32_t used = atomic_load_explicit(&hnsw->seeds.used, memory_order_acquire);
    walk->scratch->batch.count = 0;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t seed = hnsw_seeds_load(&hnsw->seeds, i);
        if (visited_is_new(visited, seed) && visited_add(visited, seed))
            search_batch_add(hnsw->store, &walk->scratch->batch, seed);
    }
}

void hnsw_walk_level(struct walk *walk, struct hit start, uint32_t level) {
    struct visited *visited = &walk->scratch->visited;
    visited_begin(visited);
    visited_add(visited, start.slot);
    walk->pool[0] = start;
    walk->count = 1;
    walk->cursor = 0;
    walk->level = level;
    if (level == 0) {
        hnsw_walk_add_seeds(walk);
        hnsw_walk_take(walk, NULL);
    }
    while (expand_next(walk, TOGETHER) > 0) {
        if (walk->search) {
            walk->search->scored += walk->scratch->batch.count;
            if (search_is_over(walk->search))
                break;
        }
    }
    walk->was_full = walk->count == walk->ef;
    hnsw_walk_end(walk);
}

void hnsw_walk_refine(struct walk *walk, size_t max) {
    size_t expanded;
    walk->cursor = 0;
    walk->level = 0;
    do {
        expanded = expand_next(walk, max < TOGETHER ? max : TOGETHER);
        max -= expanded;
    } while (expanded > 0 && max > 0);
    hnsw_walk_end(walk);
}

void hnsw_walk_nearest(struct walk *walk, uint64_t entry) {
    bool has_edges = walk->hnsw->store->edge_blocks > 0;
    struct hit start = hnsw_walk_descend(walk, entry, has_edges ? EDGES_FROM_LEVEL : 0);
    if (has_edges)
        hnsw_walk_edges(walk, start);
    else
        hnsw_walk_level(walk, start, 0);
}
