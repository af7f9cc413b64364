/* Writing the edges of links that changed: what builders do when no slot waits to be linked.
 *
 * Threads: builders share a pass over all slots, a piece each. A node's lock keeps its list from
 * changing while its edges are written; the gate, which they hold shared, keeps neighbours from
 * leaving.
 */
#include "index/edges.h"
#include "index/hnsw_links.h"

enum {
    PIECE_SLOTS = 32, /* at most 1 ms when all of their edges are stale, at 768 dimensions */
    GROWN_SHARE = 4,  /* the default ef is set anew when the graph grew by 1 / so many */
};

static struct edge_end end_of(const struct store *store, uint32_t slot) {
    return (struct edge_end){.code = store_code(store, slot), .meta = *store_meta(store, slot)};
}

/* Writes the stale edges of one block; returns the places that are not stale any more. */
static uint32_t write_block(const struct hnsw *hnsw, uint32_t slot, uint32_t block,
                            uint32_t stale) {
    const struct store *store = hnsw->store;
    const _Atomic uint32_t *list = store_links(store, slot) + (size_t)block * EDGES_PER_BLOCK;
    const struct edge_end node = end_of(store, slot);
    uint8_t *bytes = store_edges(store, slot, block);
    uint32_t written = 0;
    for (uint32_t place = 0; place < EDGES_PER_BLOCK; place++) {
        if (!(stale >> place & 1))
            continue;
        uint32_t link = hnsw_link_load(list, place);
        if (link != SLOT_NONE) {
            const struct edge_end neighbour = end_of(store, hnsw_link_slot(link));
            if (!edges_write(hnsw->space, &node, &neighbour, bytes, place))
                continue;
        }
        written |= UINT32_C(1) << place;
    }
    return written;
}

static void refresh_slot(const struct hnsw *hnsw, uint32_t slot) {
    const struct store *store = hnsw->store;
    if (!store_is_present(store, slot) || store_kind(store, slot) != STORE_LINKED)
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

/* Edges make walks shorter and rougher, so the default ef is set anew where they are complete. */
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
    if (atomic_load(&hnsw->edges_cursor) >= end) {
        if (!atomic_exchange(&store->has_stale, false))
            return false;
        atomic_store(&hnsw->edges_cursor, 0);
    }
    pthread_rwlock_rdlock(&hnsw->gate);
    uint32_t start = atomic_fetch_add(&hnsw->edges_cursor, PIECE_SLOTS);
    for (uint32_t slot = start; slot < end && slot - start < PIECE_SLOTS; slot++)
        refresh_slot(hnsw, slot);
    if (start < end && end - start <= PIECE_SLOTS)
        calibrate_if_grown(hnsw, scratch);
    pthread_rwlock_unlock(&hnsw->gate);
    return true;
}
