/* Writing edges, all of a node that are stale at once: as soon as its list has changed, but for
 * what is linked in bulk, where a list changes many times before it is asked for, and where edges
 * of an image were not read yet or are damaged. Those are written when no slot waits to be linked,
 * and in long loads each time that cells are made anew (hnsw_bulk.c).
 *
 * Threads: builders share a pass over all slots, a piece each. A node's lock keeps its list from
 * changing while its edges are written; the gate, which they hold shared, keeps neighbours from
 * leaving.
 */
#include "index/edges.h"
#include "index/hnsw_links.h"

#include <string.h>

enum {
    PIECE_SLOTS = 32, /* at most 1 ms when all of their edges are stale, at 768 dimensions */
    GROWN_SHARE = 4,  /* the default ef is set anew when the graph grew by 1 / so many */
};

static struct edge_end end_of(const struct store *store, uint32_t slot) {
    return (struct edge_end){.code = store_code(store, slot), .meta = *store_meta(store, slot)};
}

/* Writes edges of a block of the slot to `edges`; returns the places that are right now. A place
 * without a link is right as it is. */
static uint32_t write_block(const struct hnsw *hnsw, struct edge_work *work, uint32_t slot,
                            uint32_t block, uint32_t places, struct edge_block *edges) {
    const struct store *store = hnsw->store;
    const _Atomic uint32_t *list = store_links(store, slot) + block * EDGES_PER_BLOCK;
    const struct edge_end node = end_of(store, slot);
    struct edge_end neighbours[EDGES_PER_BLOCK];
    uint32_t links = 0;
    for (uint32_t left = places; left != 0; left &= left - 1) {
        uint32_t place = (uint32_t)__builtin_ctz(left), link = hnsw_link_load(list, place);
        if (link == SLOT_NONE)
            continue;
        neighbours[place] = end_of(store, hnsw_link_slot(link));
        links |= UINT32_C(1) << place;
    }
    return (places & ~links) | edges_write(hnsw->space, &node, neighbours, links, work, edges);
}

static _Atomic uint32_t *stale_of(const struct store *store, uint32_t slot, uint32_t block) {
    return &store_head(store, slot)->stale[block];
}

static struct edge_block edges_of(const struct store *store, uint32_t slot, uint32_t block) {
    return (struct edge_block){.planes = store_edges(store, slot, block),
                               .slopes = store_slopes(store, slot, block),
                               .power = store_power(store, slot, block)};
}

/* Places of a block that have a link. */
static uint32_t linked_places(const struct store *store, uint32_t slot, uint32_t block) {
    const _Atomic uint32_t *list = store_links(store, slot) + (size_t)block * EDGES_PER_BLOCK;
    uint32_t linked = 0;
    for (uint32_t place = 0; place < EDGES_PER_BLOCK; place++)
        linked |= (uint32_t)(hnsw_link_load(list, place) != SLOT_NONE) << place;
    return linked;
}

/* Where an edge is too long for the block's power, or none of those that stay wants it any more,
 * all are written again. */
static void write_stale_block(const struct hnsw *hnsw, struct edge_work *work, uint32_t slot,
                              uint32_t block) {
    _Atomic uint32_t *stale = stale_of(hnsw->store, slot, block);
    uint32_t places = atomic_load_explicit(stale, memory_order_relaxed), written;
    if (places == 0)
        return;
    struct edge_block edges = edges_of(hnsw->store, slot, block);
    uint8_t power = edges.power;
    if (power > 0 && !edges_want_power(&edges, linked_places(hnsw->store, slot, block) & ~places))
        edges.power = 0;
    while (true) {
        if (edges.power != power) {
            places = UINT32_MAX;
            atomic_store_explicit(stale, places, memory_order_relaxed);
        }
        power = edges.power;
        written = write_block(hnsw, work, slot, block, places, &edges);
        if (edges.power == power)
            break;
    }
    store_set_power(hnsw->store, slot, block, power);
    atomic_fetch_and_explicit(stale, ~written, memory_order_release);
}

/* Under the slot's lock. */
static void write_stale(const struct hnsw *hnsw, struct edge_work *work, uint32_t slot) {
    for (uint32_t block = 0; block < hnsw->store->edge_blocks; block++)
        write_stale_block(hnsw, work, slot, block);
}

void hnsw_edges_write(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    struct store *store = hnsw->store;
    if (store->edge_blocks == 0)
        return;
    /* Whoever reads edges from the file writes here, too. */
    if (scratch->leaves_edges || atomic_load(&store->is_unread))
        atomic_store(&store->has_stale, true);
    else
        write_stale(hnsw, &scratch->edges, slot);
}

static bool are_right(const struct hnsw *hnsw, uint32_t slot, struct edge_work *work,
                      uint8_t *bytes) {
    const struct store *store = hnsw->store;
    for (uint32_t block = 0; block < store->edge_blocks; block++) {
        uint32_t fresh = ~store_stale(store, slot, block);
        const struct edge_block edges = edges_of(store, slot, block);
        uint8_t slopes[EDGES_PER_BLOCK];
        struct edge_block own = {bytes, slopes, edges.power};
        if (fresh == 0)
            continue;
        memcpy(bytes, edges.planes, store->edge_block_bytes);
        memcpy(slopes, edges.slopes, sizeof(slopes));
        if (write_block(hnsw, work, slot, block, fresh, &own) != fresh ||
            own.power != edges.power || memcmp(bytes, edges.planes, store->edge_block_bytes) != 0 ||
            memcmp(slopes, edges.slopes, sizeof(slopes)) != 0)
            return false;
    }
    return true;
}

bool hnsw_edges_are_right(const struct hnsw *hnsw, uint32_t slot, struct edge_work *work,
                          uint8_t *bytes) {
    hnsw_lock(hnsw, slot); /* stale ones may be written meanwhile */
    bool are = are_right(hnsw, slot, work, bytes);
    hnsw_unlock(hnsw, slot);
    return are;
}

bool hnsw_edges_are_stale(const struct hnsw *hnsw) {
    const struct store *store = hnsw->store;
    return store->edge_blocks > 0 &&
           (atomic_load(&store->has_stale) || atomic_load(&store->is_unread) ||
            atomic_load(&hnsw->edges_cursor) < store_end(store));
}

void hnsw_edges_refresh_slot(const struct hnsw *hnsw, struct index_scratch *scratch,
                             uint32_t slot) {
    const struct store *store = hnsw->store;
    uint32_t stale = 0;
    if (atomic_load(&store->is_unread) || !store_is_linked(store, slot))
        return;
    for (uint32_t block = 0; block < store->edge_blocks; block++)
        stale |= atomic_load_explicit(stale_of(store, slot, block), memory_order_relaxed);
    if (stale == 0)
        return;
    hnsw_lock(hnsw, slot);
    write_stale(hnsw, &scratch->edges, slot);
    hnsw_unlock(hnsw, slot);
}

/* Edges make walks shorter and rougher, so the default ef is set anew when they are complete. */
static void calibrate_if_grown(struct hnsw *hnsw, struct index_scratch *scratch) {
    uint64_t linked = atomic_load(&hnsw->linked), before = atomic_load(&hnsw->calibrated_at);
    if (linked < HNSW_CALIBRATED_MIN || linked < before + before / GROWN_SHARE ||
        !scratch_reserve(scratch, store_end(hnsw->store), hnsw->space->width) ||
        !atomic_compare_exchange_strong(&hnsw->calibrated_at, &before, linked))
        return;
    hnsw_calibrate(hnsw, scratch);
}

bool hnsw_edges_refresh(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct store *store = hnsw->store;
    uint32_t end = store_end(store);
    if (store->edge_blocks == 0 || atomic_load(&store->is_unread) ||
        !edges_work_reserve(&scratch->edges, hnsw->space->width)) /* they stay stale */
        return false;
    bool was_needed = atomic_load(&hnsw->edges_cursor) < end;
    if (!was_needed && atomic_exchange(&store->has_stale, false)) {
        atomic_store(&hnsw->edges_cursor, 0);
        was_needed = true;
    }
    pthread_rwlock_rdlock(&hnsw->gate);
    if (was_needed) {
        uint32_t start = atomic_fetch_add(&hnsw->edges_cursor, PIECE_SLOTS);
        for (uint32_t slot = start; slot < end && slot - start < PIECE_SLOTS; slot++)
            hnsw_edges_refresh_slot(hnsw, scratch, slot);
    } else {
        calibrate_if_grown(hnsw, scratch);
    }
    pthread_rwlock_unlock(&hnsw->gate);
    return was_needed;
}
