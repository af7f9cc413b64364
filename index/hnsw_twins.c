/* Slots with equal codes.
 *
 * Hundreds of equal vectors would fill each other's lists and every pool that meets them, and hide
 * what lies behind. So only one of them is linked; the others hang on it in a chain, which a search
 * follows when it collects its hits. A twin has no links, so its level-0 record holds the chain:
 * place 0 the next twin, place 1 the one before (SLOT_NONE: the linked slot), place 2 the linked
 * slot. The lock of the linked slot guards the chain; readers follow it without a lock, and a twin
 * taken out keeps its next, so that a reader who stands on it finds on.
 */
#include "index/hnsw.h"

#include <string.h>

enum {
    NEXT,
    PREVIOUS,
    LINKED = HNSW_TWIN_LINKED
};

uint32_t hnsw_twins_first(const struct hnsw *hnsw, uint32_t slot) {
    return atomic_load_explicit(&store_node(hnsw->store, slot)->twin, memory_order_acquire);
}

uint32_t hnsw_twins_next(const struct hnsw *hnsw, uint32_t twin) {
    return atomic_load_explicit(&store_links(hnsw->store, twin)[NEXT], memory_order_acquire);
}

uint32_t hnsw_twins_linked(const struct hnsw *hnsw, uint32_t twin) {
    return atomic_load_explicit(&store_links(hnsw->store, twin)[LINKED], memory_order_acquire);
}

/* Whatever leads to that place is no edge: should the twin be linked one day, it is stale. */
static void set(const struct hnsw *hnsw, uint32_t twin, uint32_t place, uint32_t slot) {
    store_set_link(hnsw->store, twin, place, slot);
}

void hnsw_twins_add(struct hnsw *hnsw, uint32_t of, uint32_t slot) {
    struct store_node *node = store_node(hnsw->store, slot);
    hnsw_lock(hnsw, of);
    uint32_t first = hnsw_twins_first(hnsw, of);
    set(hnsw, slot, NEXT, first);
    set(hnsw, slot, PREVIOUS, SLOT_NONE);
    set(hnsw, slot, LINKED, of);
    atomic_store_explicit(&node->kind, STORE_TWIN, memory_order_release);
    if (first != SLOT_NONE)
        set(hnsw, first, PREVIOUS, slot);
    atomic_store_explicit(&store_node(hnsw->store, of)->twin, slot, memory_order_release);
    bitmap_atomic_set(store_chunk(hnsw->store, of)->leading, of & (STORE_CHUNK - 1));
    hnsw_unlock(hnsw, of);
}

void hnsw_twins_remove(struct hnsw *hnsw, uint32_t slot) {
    uint32_t of = hnsw_twins_linked(hnsw, slot);
    hnsw_lock(hnsw, of);
    uint32_t next = hnsw_twins_next(hnsw, slot);
    uint32_t previous =
        atomic_load_explicit(&store_links(hnsw->store, slot)[PREVIOUS], memory_order_acquire);
    if (previous == SLOT_NONE)
        atomic_store_explicit(&store_node(hnsw->store, of)->twin, next, memory_order_release);
    else
        set(hnsw, previous, NEXT, next);
    if (next != SLOT_NONE)
        set(hnsw, next, PREVIOUS, previous);
    hnsw_unlock(hnsw, of);
}

uint32_t hnsw_twins_find(const struct hnsw *hnsw, uint32_t slot,
                         const struct hnsw_candidates *candidates) {
    const struct store *store = hnsw->store;
    float scale = store_meta(store, slot)->scale;
    for (size_t i = 0; i < candidates->count; i++) {
        uint32_t other = candidates->hits[i].slot;
        if (store_meta(store, other)->scale == scale &&
            memcmp(store_code(store, slot), store_code(store, other), store->code_bytes) == 0)
            return other;
    }
    return SLOT_NONE;
}
