/* Taking dead slots out of the graph.
 *
 * After IP-DiskANN (Xu et al. 2025): each slot u that links to a dead d chooses anew from its own
 * links and those of d. We keep no reverse lists: one pass over all level-0 lists (a million slots
 * in some 140 ms) finds the u of a whole batch, and costs insertions nothing. So the dead are best
 * repaired many at a time.
 *
 * 1. Mark the dead as leaving: builders link to them no more. 2. Wait for the builders that began
 * before (the gate), move the entry if it leaves. 3. Close the tree of kept links around the dead.
 * 4. Mend every list that leads to one. 5. Remove.
 */
#include "index/hnsw_links.h"

#include <string.h>

enum {
    PIECE_SLOTS = 64, /* between two offers of the core: a millisecond or two if all are mended */
};

struct repair {
    struct hnsw *hnsw;
    struct index_scratch *scratch;
};

static bool leads_to_leaving(const struct store *store, uint32_t link) {
    return link != SLOT_NONE && store_is_leaving(store, hnsw_link_slot(link));
}

/* The twins of a leaving slot wait to be linked anew; leaving twins leave their chain. */
static void release_twins(struct hnsw *hnsw, uint32_t slot) {
    struct store *store = hnsw->store;
    if (store_kind(store, slot) == STORE_TWIN) {
        hnsw_twins_remove(hnsw, slot);
        return;
    }
    uint32_t twin = hnsw_twins_first(hnsw, slot);
    if (twin == SLOT_NONE)
        return;
    atomic_fetch_add(&hnsw->released, 1);
    while (twin != SLOT_NONE) {
        uint32_t next = hnsw_twins_next(hnsw, twin);
        hnsw_twins_remove(hnsw, twin);
        atomic_store_explicit(&store_node(store, twin)->kind, STORE_UNLINKED, memory_order_release);
        atomic_fetch_sub_explicit(&hnsw->linked, 1, memory_order_relaxed);
        store_wait_again(store, twin);
        twin = next;
    }
    atomic_fetch_add(&hnsw->released, 1);
}

/* Marks the dead, and waits until no builder is left that might have overlooked the mark. What
 * waited is removed at once, and the entry moves. */
static void begin(struct hnsw *hnsw, const uint32_t *dead, size_t count) {
    struct store *store = hnsw->store;
    for (size_t i = 0; i < count; i++) {
        if (store_is_present(store, dead[i]))
            bitmap_atomic_set(store_chunk(store, dead[i])->leaving, dead[i] & (STORE_CHUNK - 1));
    }
    pthread_rwlock_wrlock(&hnsw->gate);
    for (size_t i = 0; i < count; i++) {
        if (!store_is_present(store, dead[i]))
            continue;
        if (store_is_waiting(store, dead[i]))
            store_remove(store, dead[i]);
        else
            release_twins(hnsw, dead[i]);
    }
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    if (entry != HNSW_NO_ENTRY && store_is_leaving(store, hnsw_entry_slot(entry)))
        atomic_store_explicit(&hnsw->entry, hnsw_find_entry(hnsw), memory_order_release);
    hnsw_seeds_drop_unlinked(hnsw);
    pthread_rwlock_unlock(&hnsw->gate);
}

/* Adds the staying slots of a list to the pool. */
static void add_candidates(struct repair *repair, const _Atomic uint32_t *list, uint32_t places,
                           size_t *count) {
    const struct store *store = repair->hnsw->store;
    struct visited *visited = &repair->scratch->visited;
    for (uint32_t i = 0; i < places && *count < HNSW_CANDIDATES_MAX; i++) {
        uint32_t link = hnsw_link_load(list, i), to = hnsw_link_slot(link);
        if (link != SLOT_NONE && to < visited->capacity && !store_is_leaving(store, to) &&
            visited_add(visited, to))
            repair->scratch->pool.items[(*count)++].slot = to;
    }
}

static void measure(struct repair *repair, uint32_t owner, struct hnsw_candidates *candidates) {
    const struct store *store = repair->hnsw->store;
    struct code_batch *batch = &repair->scratch->batch;
    codes_query_row(repair->hnsw->space, store_code(store, owner), *store_meta(store, owner),
                    &repair->scratch->node);
    for (size_t start = 0; start < candidates->count; start += batch->count) {
        batch->count = 0;
        for (size_t i = start; i < candidates->count && batch->count < CODES_BATCH_MAX; i++)
            search_batch_add(store, batch, candidates->hits[i].slot);
        codes_distances(repair->hnsw->space, &repair->scratch->node, batch);
        for (size_t i = 0; i < batch->count; i++)
            candidates->hits[start + i].distance = batch->distances[i];
    }
    hnsw_links_sort(candidates->hits, candidates->count);
}

/* Candidates for the list of owner, nearest first: its links and those of the leaving among them.
 */
static struct hnsw_candidates gather(struct repair *repair, uint32_t owner, uint32_t level) {
    const struct hnsw *hnsw = repair->hnsw;
    const _Atomic uint32_t *list = hnsw_list(hnsw, owner, level);
    uint32_t places = hnsw_places(hnsw, level);
    struct hnsw_candidates candidates = {.hits = repair->scratch->pool.items};
    visited_begin(&repair->scratch->visited);
    visited_add(&repair->scratch->visited, owner);
    add_candidates(repair, list, places, &candidates.count);
    for (uint32_t i = 0; i < places; i++) {
        uint32_t link = hnsw_link_load(list, i);
        if (leads_to_leaving(hnsw->store, link))
            add_candidates(repair, hnsw_list(hnsw, hnsw_link_slot(link), level), places,
                           &candidates.count);
    }
    measure(repair, owner, &candidates);
    return candidates;
}

static bool holds(const _Atomic uint32_t *list, uint32_t places, uint32_t link) {
    for (uint32_t i = 0; i < places; i++) {
        if (hnsw_link_load(list, i) == link)
            return true;
    }
    return false;
}

/* Settles which candidates are links of the list's owner from now on: those it keeps, then what the
 * heuristic chooses while there is room. Returns how many. */
static uint32_t settle(struct repair *repair, const struct hnsw_candidates *candidates,
                       const _Atomic uint32_t *list, bool *is_chosen) {
    const struct hnsw *hnsw = repair->hnsw;
    uint32_t places = hnsw->store->link_count, links = 0, had = 0;
    bool is_kept[HNSW_CANDIDATES_MAX];
    for (uint32_t i = 0; i < places; i++)
        had += !(hnsw_link_load(list, i) & HNSW_FILLER);
    hnsw_select(hnsw, repair->scratch, candidates, had > hnsw->m ? had : hnsw->m, is_chosen);
    for (size_t i = 0; i < candidates->count; i++) {
        is_kept[i] = holds(list, places, candidates->hits[i].slot | HNSW_KEPT);
        links += is_kept[i];
    }
    for (size_t i = 0; i < candidates->count; i++) {
        bool is_new = is_chosen[i] && !is_kept[i] && links < places;
        links += is_new;
        is_chosen[i] = is_kept[i] || is_new;
        if (is_kept[i])
            candidates->hits[i].slot |= HNSW_KEPT;
    }
    return links;
}

/* Chooses the level-0 list of owner anew and returns how many links it has. */
static uint32_t mend_level_0(struct repair *repair, uint32_t owner) {
    const struct hnsw *hnsw = repair->hnsw;
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    uint32_t places = hnsw->store->link_count, place = 0;
    bool is_chosen[HNSW_CANDIDATES_MAX];
    hnsw_lock(hnsw, owner);
    struct hnsw_candidates candidates = gather(repair, owner, 0);
    uint32_t links = settle(repair, &candidates, list, is_chosen);
    for (size_t i = 0; i < candidates.count; i++) {
        if (is_chosen[i])
            hnsw_links_put(hnsw, owner, place++, candidates.hits[i].slot);
    }
    for (size_t i = 0; i < candidates.count && place < places; i++) {
        if (!is_chosen[i])
            hnsw_links_put(hnsw, owner, place++, candidates.hits[i].slot | HNSW_FILLER);
    }
    for (; place < places; place++)
        hnsw_links_put(hnsw, owner, place, SLOT_NONE);
    hnsw_edges_write(hnsw, repair->scratch, owner);
    hnsw_unlock(hnsw, owner);
    return links;
}

static void mend_upper(struct repair *repair, uint32_t owner, uint32_t level) {
    hnsw_lock(repair->hnsw, owner);
    struct hnsw_candidates candidates = gather(repair, owner, level);
    hnsw_links_write(repair->hnsw, repair->scratch, owner, &candidates, level);
    hnsw_unlock(repair->hnsw, owner);
}

static bool needs_mending(const struct hnsw *hnsw, uint32_t slot, uint32_t level) {
    const _Atomic uint32_t *list = hnsw_list(hnsw, slot, level);
    for (uint32_t i = 0; i < hnsw_places(hnsw, level); i++) {
        if (leads_to_leaving(hnsw->store, hnsw_link_load(list, i)))
            return true;
    }
    return false;
}

static void mend(struct repair *repair, uint32_t slot) {
    const struct hnsw *hnsw = repair->hnsw;
    uint32_t level =
        atomic_load_explicit(&store_node(hnsw->store, slot)->level, memory_order_relaxed);
    for (uint32_t at = level; at > 0; at--) {
        if (needs_mending(hnsw, slot, at))
            mend_upper(repair, slot, at);
    }
    if (!needs_mending(hnsw, slot, 0))
        return;
    if (mend_level_0(repair, slot) < hnsw->m / 2)
        hnsw_links_reconnect(repair->hnsw, repair->scratch, slot);
    hnsw_seeds_examine(repair->hnsw, repair->scratch, slot);
}

/* Takes a leaving slot out of the tree: those it kept keep each other in a row instead, which holds
 * the tree together also where neighbours leave one after the other. */
static void leave_tree(struct repair *repair, uint32_t slot) {
    const struct hnsw *hnsw = repair->hnsw;
    uint32_t kept[HNSW_PLACES_MAX], count = 0;
    const _Atomic uint32_t *list = store_links(hnsw->store, slot);
    for (uint32_t i = 0; i < hnsw->store->link_count; i++) {
        uint32_t link = hnsw_link_load(list, i);
        if (hnsw_link_is_kept(link))
            kept[count++] = hnsw_link_slot(link);
    }
    for (uint32_t i = 0; i < count; i++) {
        hnsw_links_unkeep(hnsw, kept[i], slot);
        hnsw_links_unkeep(hnsw, slot, kept[i]);
    }
    /* Whoever has the least room goes to an end of the row, where one place is enough. */
    for (uint32_t i = 1; i < count; i++) {
        if (hnsw_links_count_kept(hnsw, kept[i]) > hnsw_links_count_kept(hnsw, kept[0])) {
            uint32_t fuller = kept[i];
            kept[i] = kept[0];
            kept[0] = fuller;
        }
    }
    for (uint32_t i = 1; i < count; i++) {
        if (!hnsw_links_keep(hnsw, repair->scratch, kept[i - 1], kept[i]))
            continue;
        if (!hnsw_links_keep(hnsw, repair->scratch, kept[i], kept[i - 1]))
            hnsw_links_unkeep(hnsw, kept[i - 1], kept[i]);
    }
}

enum status hnsw_repair(struct hnsw *hnsw, const uint32_t *dead, size_t dead_count,
                        struct index_scratch *scratch, struct error *error) {
    struct store *store = hnsw->store;
    struct repair repair = {.hnsw = hnsw, .scratch = scratch};
    if (!scratch_reserve(scratch, store_end(store), hnsw->space->width) ||
        !scratch_reserve_hits(&scratch->pool, HNSW_CANDIDATES_MAX))
        return error_set(error, STATUS_NO_MEMORY, "out of memory for repairing a graph");
    begin(hnsw, dead, dead_count);
    uint32_t end = store_end(store); /* once: it grows meanwhile */
    if (end > scratch->visited.capacity)
        end = scratch->visited.capacity;
    for (size_t i = 0; i < dead_count; i++) {
        if (store_is_linked(store, dead[i]))
            leave_tree(&repair, dead[i]);
    }
    for (uint32_t slot = 0; slot < end; slot++) {
        if (slot % PIECE_SLOTS == 0)
            scratch_offer_core(scratch);
        if (store_is_linked(store, slot) && !store_is_leaving(store, slot))
            mend(&repair, slot);
    }
    hnsw_seeds_changed(&hnsw->seeds, dead_count);
    for (size_t i = 0; i < dead_count; i++) {
        if (!store_is_present(store, dead[i]))
            continue;
        store_remove(store, dead[i]);
        atomic_store_explicit(&store_node(store, dead[i])->kind, STORE_UNLINKED,
                              memory_order_release);
        atomic_fetch_sub_explicit(&hnsw->linked, 1, memory_order_relaxed);
    }
    /* Before the slots are used again: who measured them earlier sees that they may be others. */
    atomic_fetch_add_explicit(&hnsw->unlinked, dead_count, memory_order_release);
    return STATUS_OK;
}
