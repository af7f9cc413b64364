/* From the pool of a walk to hits. */
#include "index/hnsw.h"

enum {
    TWINS_MAX = 4096 /* followed from one slot: beyond, equal vectors are not all compared by id */
};

/* Candidates of the search, nearest first by code, not measured exactly yet. */
struct collection {
    struct search *search;
    size_t count; /* in scratch->rows */
    size_t wanted;
    size_t dropped; /* not visible, or not passing */
};

/* Adds a slot that is visible, passes and was not added before. */
static void add(struct collection *found, struct hit hit) {
    struct search *search = found->search;
    if (!search_is_visible(search, hit.slot) || !search_passes(search, hit.slot)) {
        found->dropped++;
        return;
    }
    if (visited_add(&search->scratch->visited, hit.slot))
        search->scratch->rows.items[found->count++] = hit;
}

/* Collects from the pool, each slot with its twins: they are as near. All twins of a slot are
 * taken, for which of them comes first is only known when they are measured. */
static bool collect(const struct hnsw *hnsw, const struct walk *walk, struct collection *found) {
    struct scratch_hits *rows = &found->search->scratch->rows;
    uint32_t limit = found->search->scratch->visited.capacity;
    for (size_t i = 0; i < walk->count && found->count < found->wanted; i++) {
        struct hit hit = walk->pool[i];
        if (!scratch_reserve_hits(rows, found->count + 1))
            return false;
        add(found, hit);
        uint32_t twin = hnsw_twins_first(hnsw, hit.slot);
        for (int n = 0; twin != SLOT_NONE && n < TWINS_MAX; n++) {
            if (found->count == rows->capacity && !scratch_reserve_hits(rows, rows->capacity * 2))
                return false;
            if (twin < limit)
                add(found, (struct hit){.slot = twin, .distance = hit.distance});
            twin = hnsw_twins_next(hnsw, twin);
        }
    }
    return true;
}

/* Hits of the waiting slots may have been linked since: they are not to be found twice. */
static void mark_hits(struct visited *visited, const struct top_k *top) {
    visited_begin(visited);
    for (size_t i = 0; i < top->count; i++) {
        if (top->hits[i].slot < visited->capacity)
            visited_add(visited, top->hits[i].slot);
    }
}

enum status hnsw_search(struct search *search, const struct hnsw *hnsw, size_t ef,
                        struct top_k *top, bool *is_complete) {
    struct index_scratch *scratch = search->scratch;
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    struct collection found = {.search = search,
                               .wanted = top->k + (top->k / 2 > 10 ? top->k / 2 : 10)};
    struct walk walk;
    *is_complete = false;
    if (entry == HNSW_NO_ENTRY)
        return STATUS_OK;
    for (; ef <= 2 * (size_t)VECTOR_INDEX_EF_MAX; ef *= 2) {
        if (!scratch_reserve_hits(&scratch->rows, found.wanted + 1) ||
            !hnsw_walk_init(&walk, hnsw, scratch, ef))
            return STATUS_NO_MEMORY;
        walk.search = search;
        struct hit start = hnsw_walk_descend(&walk, entry, 0);
        hnsw_walk_level(&walk, start, 0);
        if (search->status != STATUS_OK)
            return search->status;
        mark_hits(&scratch->visited, top);
        found.count = found.dropped = 0;
        if (!collect(hnsw, &walk, &found))
            return STATUS_NO_MEMORY;
        /* Where half of what was met is dropped, the rest is too few to choose from. */
        if (found.count >= top->k && found.dropped <= walk.count / 2)
            break;
        if (walk.count < ef)
            return STATUS_OK; /* the whole graph was met */
    }
    *is_complete = found.count + top->count >= top->k;
    for (size_t i = 0; i < found.count; i++) {
        struct hit hit = {.slot = scratch->rows.items[i].slot};
        if (search_exact_distance(search, hit.slot, &hit.distance))
            top_k_offer(top, hit);
        if (search_is_over(search))
            return search->status;
    }
    return STATUS_OK;
}
