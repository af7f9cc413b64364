/* Writing edges: that of a link which changes, at once; those that were left stale, since edges of
 * an image were not read yet or are damaged, when no slot waits to be linked.
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

/* Writes the edge of one place, which leads to the slot of `link`, into the block it belongs to;
 * false if its numbers leave f32. */
static bool write_place(const struct hnsw *hnsw, uint32_t slot, uint32_t place, uint32_t link,
                        uint8_t *block) {
    if (link == SLOT_NONE)
        return true;
    const struct edge_end node = end_of(hnsw->store, slot);
    const struct edge_end neighbour = end_of(hnsw->store, hnsw_link_slot(link));
    return edges_write(hnsw->space, &node, &neighbour, block, place % EDGES_PER_BLOCK);
}

void hnsw_edges_put(const struct hnsw *hnsw, uint32_t slot, uint32_t place, uint32_t link) {
    const struct store *store = hnsw->store;
    if (store->edge_blocks == 0)
        return;
    if (atomic_load(&store->is_unread)) { /* whoever reads it from the file writes here, too */
        atomic_store(&hnsw->store->has_stale, true);
        return;
    }
    if (!write_place(hnsw, slot, place, link, store_edges(store, slot, place / EDGES_PER_BLOCK)))
        return;
    atomic_fetch_and_explicit(&store_head(store, slot)->stale[place / EDGES_PER_BLOCK],
                              ~(UINT32_C(1) << place % EDGES_PER_BLOCK), memory_order_release);
}

/* Writes the stale edges of one block; returns the places that are not stale any more. */
static uint32_t write_block(const struct hnsw *hnsw, uint32_t slot, uint32_t block,
                            uint32_t stale) {
    const _Atomic uint32_t *list = store_links(hnsw->store, slot);
    uint8_t *bytes = store_edges(hnsw->store, slot, block);
    uint32_t written = 0;
    for (; stale != 0; stale &= stale - 1) {
        uint32_t bit = (uint32_t)__builtin_ctz(stale), place = block * EDGES_PER_BLOCK + bit;
        if (write_place(hnsw, slot, place, hnsw_link_load(list, place), bytes))
            written |= UINT32_C(1) << bit;
    }
    return written;
}

bool hnsw_edges_are_right(const struct hnsw *hnsw, uint32_t slot, uint8_t *work) {
    const struct store *store = hnsw->store;
    const _Atomic uint32_t *list = store_links(store, slot);
    for (uint32_t block = 0; block < store->edge_blocks; block++) {
        const uint8_t *edges = store_edges(store, slot, block);
        memcpy(work, edges, store->edge_block_bytes);
        for (uint32_t fresh = ~store_stale(store, slot, block); fresh != 0; fresh &= fresh - 1) {
            uint32_t place = block * EDGES_PER_BLOCK + (uint32_t)__builtin_ctz(fresh);
            if (!write_place(hnsw, slot, place, hnsw_link_load(list, place), work))
                return false;
        }
        if (memcmp(work, edges, store->edge_block_bytes) != 0)
            return false;
    }
    return true;
}

static void refresh_slot(const struct hnsw *hnsw, uint32_t slot) {
    const struct store *store = hnsw->store;
    if (!store_is_linked(store, slot))
        return;
    for (uint32_t block = 0; block < store->edge_blocks; block++) {
        _Atomic uint32_t *stale = &store_head(store, slot)->stale[block];
        if (atomic_load_explicit(stale, memory_order_relaxed) == 0)
            continue;
        hnsw_lock(hnsw, slot);
        uint32_t written =
            write_block(hnsw, slot, block, atomic_load_explicit(stale, memory_order_relaxed));
        atomic_fetch_and_explicit(stale, ~written, memory_order_release);
        hnsw_unlock(hnsw, slot);
    }
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
    if (store->edge_blocks == 0 || atomic_load(&store->is_unread))
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
            refresh_slot(hnsw, slot);
    } else {
        calibrate_if_grown(hnsw, scratch);
    }
    pthread_rwlock_unlock(&hnsw->gate);
    return was_needed;
}
