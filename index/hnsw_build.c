/* Linking a slot into the graph. */
#include "index/hnsw_links.h"

#include <assert.h>

enum {
    /* Narrower rows come from memory fast enough that walking by edges spares nothing, and
     * measuring each neighbour finds more: at 384 dimensions recall 0.990 where by edges it is
     * 0.987. */
    BY_EDGES_WIDTH = 512,
    /* Entries of a walk by edges for each candidate that is wanted, in tenths: it expands about
     * half of them, and what it expands are the candidates. 20 lost 0.2 points of recall at 768
     * dimensions, 30 gained nothing. */
    EDGES_POOL_TENTHS = 25,
    /* Candidates on the levels above 0, whose lists only lead the way: with 200 as on level 0 a
     * twelfth of a build went into them, and searches found no more. */
    UPPER_EF = 64,
};

static bool has_edges_to_link_by(const struct hnsw *hnsw) {
    return hnsw->store->edge_blocks > 0 && hnsw->space->width >= BY_EDGES_WIDTH;
}

/* Where edges are stale, as in a load, a walk by edges would measure the codes of all neighbours of
 * its longer pool. */
static bool links_by_edges(const struct hnsw *hnsw) {
    return has_edges_to_link_by(hnsw) && !hnsw_edges_are_stale(hnsw);
}

/* The longest pool of a walk on level 0. */
static size_t pool_of(const struct hnsw *hnsw) {
    return has_edges_to_link_by(hnsw) ? hnsw->ef_construct * (size_t)EDGES_POOL_TENTHS / 10
                                      : hnsw->ef_construct;
}

/* A walk for linking, its query the slot. */
static bool begin_walk(struct walk *walk, const struct hnsw *hnsw, struct index_scratch *scratch) {
    if (!hnsw_walk_init(walk, hnsw, scratch, pool_of(hnsw)))
        return false;
    walk->ef = walk->kept_max = hnsw->ef_construct;
    return true;
}

/* Fills the pool with up to ef_construct of the nearest to the slot from `start` on. */
static void walk_level_0(struct walk *walk, uint32_t slot, struct hit start) {
    const struct hnsw *hnsw = walk->hnsw;
    if (!links_by_edges(hnsw)) {
        hnsw_walk_level(walk, start, 0);
        return;
    }
    codes_query_row_edges(hnsw->space, store_code(hnsw->store, slot),
                          *store_meta(hnsw->store, slot), &walk->scratch->query);
    walk->ef = pool_of(hnsw);
    hnsw_walk_edges(walk, start);
}

static void query_slot(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    codes_query_row(hnsw->space, store_code(hnsw->store, slot), *store_meta(hnsw->store, slot),
                    &scratch->query);
}

/* Takes slots that are being unlinked, and the slot itself, out of the candidates. */
static struct hnsw_candidates drop_leaving(const struct hnsw *hnsw, struct walk *walk,
                                           uint32_t slot) {
    size_t kept = 0;
    for (size_t i = 0; i < walk->count; i++) {
        if (walk->pool[i].slot != slot && !store_is_leaving(hnsw->store, walk->pool[i].slot))
            walk->pool[kept++] = walk->pool[i];
    }
    walk->count = kept;
    return (struct hnsw_candidates){.hits = walk->pool, .count = kept};
}

/* Makes the links back: level 0 first, so that whoever comes from above finds the list whole. */
static void publish(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                    uint32_t level) {
    for (uint32_t at = 0; at <= level; at++) {
        const _Atomic uint32_t *list = hnsw_list(hnsw, slot, at);
        uint32_t neighbours[HNSW_PLACES_MAX], count = 0, places = hnsw_places(hnsw, at);
        for (uint32_t i = 0; i < places; i++) {
            uint32_t link = hnsw_link_load(list, i);
            if (!(link & HNSW_FILLER))
                neighbours[count++] = hnsw_link_slot(link);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (at == 0)
                hnsw_links_add(hnsw, scratch, neighbours[i], slot);
            else
                hnsw_links_add_upper(hnsw, scratch, neighbours[i], slot, at);
        }
    }
}

/* Finds neighbours on the levels from `top` down to 1 and writes these lists; the nearest. */
static struct hit connect_upper(struct hnsw *hnsw, struct walk *walk, uint32_t slot,
                                struct hit start, uint32_t top) {
    size_t ef = walk->ef;
    walk->ef = ef < UPPER_EF ? ef : UPPER_EF;
    for (uint32_t at = top; at > 0; at--) {
        hnsw_walk_level(walk, start, at);
        start = walk->pool[0];
        struct hnsw_candidates found = drop_leaving(hnsw, walk, slot);
        hnsw_links_write(hnsw, walk->scratch, slot, &found, at);
    }
    walk->ef = ef;
    return start;
}

/* Fills the pool with candidates for level 0. */
static void find_level_0(struct hnsw *hnsw, struct walk *walk, uint32_t slot, uint64_t entry,
                         uint32_t top) {
    struct hit start = {.slot = SLOT_NONE};
    if (top > 0)
        start = connect_upper(hnsw, walk, slot, hnsw_walk_descend(walk, entry, top), top);
    if (walk->group && hnsw_group_candidates(walk, walk->group, slot)) {
        atomic_fetch_add_explicit(&hnsw->linked_in_bulk, 1, memory_order_relaxed);
        return;
    }
    if (top == 0)
        start = hnsw_walk_descend(walk, entry, 0);
    walk_level_0(walk, slot, start);
    if (hnsw->store->edge_blocks == 0) /* what walks by edges cost is measured */
        hnsw_learn_cost(hnsw, walk);
}

/* Finds neighbours and links them. entry is not HNSW_NO_ENTRY. */
static void connect(struct hnsw *hnsw, struct walk *walk, uint32_t slot, uint64_t entry) {
    struct store_node *node = store_node(hnsw->store, slot);
    uint32_t level = atomic_load_explicit(&node->level, memory_order_relaxed);
    uint32_t top = level < hnsw_entry_level(entry) ? level : hnsw_entry_level(entry);
    find_level_0(hnsw, walk, slot, entry, top);
    struct hnsw_candidates found = drop_leaving(hnsw, walk, slot);
    /* All that is near is being unlinked: the entry will do. If it leaves too, the repair that
     * waits for us at the gate ties the slot to another. */
    if (found.count == 0)
        found.hits[found.count++] = (struct hit){.slot = hnsw_entry_slot(entry)};
    uint32_t equal = hnsw_twins_find(hnsw, slot, &found);
    if (equal != SLOT_NONE) {
        hnsw_twins_add(hnsw, equal, slot);
        return;
    }
    hnsw_links_write(hnsw, walk->scratch, slot, &found, 0);
    atomic_store_explicit(&node->kind, STORE_LINKED, memory_order_release);
    hnsw_links_join(hnsw, walk->scratch, slot, &found);
    publish(hnsw, walk->scratch, slot, top);
    hnsw_seeds_examine_new(hnsw, walk->scratch, slot, &found);
}

void hnsw_links_reconnect(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    bool is_chosen[HNSW_CANDIDATES_MAX];
    struct walk walk;
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    if (entry == HNSW_NO_ENTRY || hnsw_entry_slot(entry) == slot ||
        !begin_walk(&walk, hnsw, scratch))
        return;
    query_slot(hnsw, scratch, slot);
    walk_level_0(&walk, slot, hnsw_walk_descend(&walk, entry, 0));
    struct hnsw_candidates found = drop_leaving(hnsw, &walk, slot);
    hnsw_select(hnsw, scratch, &found, hnsw->m, is_chosen);
    for (size_t i = 0; i < found.count; i++) {
        if (!is_chosen[i])
            continue;
        hnsw_links_add(hnsw, scratch, slot, found.hits[i].slot);
        hnsw_links_add(hnsw, scratch, found.hits[i].slot, slot);
    }
}

/* Gives the slot a block for its upper lists; the block of an earlier life serves if it fits. */
static bool prepare_upper(struct hnsw *hnsw, uint32_t slot) {
    struct store_node *node = store_node(hnsw->store, slot);
    uint32_t level = atomic_load_explicit(&node->level, memory_order_relaxed);
    uint32_t limit = atomic_load_explicit(&node->level_limit, memory_order_relaxed);
    uint32_t block = atomic_load_explicit(&node->upper, memory_order_relaxed);
    if (limit < level) {
        uint32_t fresh;
        if (!upper_links_allocate(&hnsw->upper, level, &fresh))
            return false;
        if (limit > 0)
            upper_links_release(&hnsw->upper, limit, block);
        atomic_store_explicit(&node->upper, fresh, memory_order_relaxed);
        atomic_store_explicit(&node->level_limit, (uint8_t)level, memory_order_relaxed);
        return true;
    }
    for (uint32_t at = 1; at <= level; at++) {
        for (uint32_t i = 0; i < hnsw->m; i++)
            hnsw_link_store(hnsw_list(hnsw, slot, at), i, SLOT_NONE);
    }
    return true;
}

/* Links the first slot. Its list is written, too: that of one which hung on another as a twin holds
 * a chain. */
static void link_first(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    const struct hnsw_candidates none = {0};
    hnsw_links_write(hnsw, scratch, slot, &none, 0);
    atomic_store_explicit(&store_node(hnsw->store, slot)->kind, STORE_LINKED, memory_order_release);
}

/* Links a claimed slot; memory is there. */
static void link_slot(struct hnsw *hnsw, struct walk *walk, uint32_t slot) {
    struct store_node *node = store_node(hnsw->store, slot);
    uint32_t level = atomic_load_explicit(&node->level, memory_order_relaxed);
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    /* A slot above all others becomes the entry; two such must not be linked side by side. */
    bool is_locked = entry == HNSW_NO_ENTRY || level > hnsw_entry_level(entry);
    if (is_locked) {
        pthread_mutex_lock(&hnsw->entry_lock);
        entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    }
    query_slot(hnsw, walk->scratch, slot);
    if (entry == HNSW_NO_ENTRY)
        link_first(hnsw, walk->scratch, slot);
    else
        connect(hnsw, walk, slot, entry);
    if (is_locked) {
        bool is_higher = entry == HNSW_NO_ENTRY || level > hnsw_entry_level(entry);
        if (is_higher && store_kind(hnsw->store, slot) == STORE_LINKED)
            atomic_store_explicit(&hnsw->entry, (uint64_t)level << 32 | slot, memory_order_release);
        pthread_mutex_unlock(&hnsw->entry_lock);
    }
}

/* The default ef is calibrated each time the graph has doubled. */
static bool is_power_of_two(uint64_t count) {
    return count >= HNSW_CALIBRATED_MIN && (count & (count - 1)) == 0;
}

/* Where edges are stale, as in a load, walks measure codes, which finds more: the ef that is enough
 * then is not when edges are written (hnsw_edges.c). */
static void calibrate(struct hnsw *hnsw, struct index_scratch *scratch) {
    hnsw_calibrate(hnsw, scratch);
    if (hnsw_edges_are_stale(hnsw))
        atomic_store(&hnsw->calibrated_at, 0);
}

static bool claim(struct hnsw *hnsw, uint32_t *slot) {
    pthread_mutex_lock(&hnsw->claim_lock);
    bool is_claimed =
        hnsw_order_claim(hnsw, slot) || store_claim(hnsw->store, &hnsw->claim_cursor, slot);
    if (!is_claimed) { /* slots that waited again, or were put again, below the cursor */
        hnsw->claim_cursor = 0;
        is_claimed = store_claim(hnsw->store, &hnsw->claim_cursor, slot);
    }
    pthread_mutex_unlock(&hnsw->claim_lock);
    return is_claimed;
}

enum status hnsw_link(struct hnsw *hnsw, struct index_scratch *scratch, bool *linked,
                      struct error *error) {
    struct walk walk;
    uint32_t slot;
    *linked = false;
    pthread_rwlock_rdlock(&hnsw->gate);
    bool has_room = scratch_reserve(scratch, store_end(hnsw->store), hnsw->space->width);
    if (has_room && !hnsw_bulk_work(hnsw, scratch))
        hnsw_order_make(hnsw, scratch);
    struct hnsw_group *group = has_room ? hnsw_bulk_claim(hnsw, scratch, &slot) : NULL;
    if (!group && !claim(hnsw, &slot)) {
        hnsw_bulk_end(hnsw);
        if (has_room)
            hnsw_seeds_refresh(hnsw, scratch);
        pthread_rwlock_unlock(&hnsw->gate);
        return STATUS_OK;
    }
    *linked = has_room && begin_walk(&walk, hnsw, scratch) && prepare_upper(hnsw, slot);
    if (*linked) {
        walk.group = group;
        scratch->leaves_edges = group; /* lists change many times before a load is over */
        link_slot(hnsw, &walk, slot);
        scratch->leaves_edges = false;
        hnsw_seeds_changed(&hnsw->seeds, 1);
    }
    store_unclaim(hnsw->store, slot, *linked);
    if (group)
        hnsw_bulk_return(hnsw, group);
    if (*linked &&
        is_power_of_two(atomic_fetch_add_explicit(&hnsw->linked, 1, memory_order_relaxed) + 1))
        calibrate(hnsw, scratch);
    pthread_rwlock_unlock(&hnsw->gate);
    if (!*linked)
        return error_set(error, STATUS_NO_MEMORY, "out of memory for linking a vector");
    return STATUS_OK;
}
