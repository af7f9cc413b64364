/* hnsw_links.h -- changing the lists of the graph; for builders and repair only.
 *
 * Each function takes the lock of the list's owner itself, but for hnsw_links_write.
 */
#ifndef HNSW_LINKS_H
#define HNSW_LINKS_H

#include "index/hnsw.h"

/* The id in a place: a slot, perhaps with HNSW_FILLER, or SLOT_NONE. Whoever reads a slot sees what
 * was written before it was linked. */
static inline uint32_t hnsw_link_load(const _Atomic uint32_t *list, uint32_t place) {
    return atomic_load_explicit(&list[place], memory_order_acquire);
}

static inline void hnsw_link_store(_Atomic uint32_t *list, uint32_t place, uint32_t link) {
    atomic_store_explicit(&list[place], link, memory_order_release);
}

/* The slot of a link; of SLOT_NONE none that there is. */
static inline uint32_t hnsw_link_slot(uint32_t link) {
    return link & ~(HNSW_FILLER | HNSW_KEPT);
}

static inline bool hnsw_link_is_kept(uint32_t link) {
    return !(link & HNSW_FILLER) && (link & HNSW_KEPT); /* SLOT_NONE has both bits */
}

/* Puts a link into a place of the owner's level-0 list; its edge is stale until hnsw_edges_write.
 * Whoever holds the owner's lock, or has not published it yet. */
static inline void hnsw_links_put(const struct hnsw *hnsw, uint32_t owner, uint32_t place,
                                  uint32_t link) {
    _Atomic uint32_t *list = store_links(hnsw->store, owner);
    store_mark_changed(hnsw->store, owner);
    if (link != SLOT_NONE && hnsw_link_slot(hnsw_link_load(list, place)) == hnsw_link_slot(link))
        hnsw_link_store(list, place, link);
    else
        store_set_link(hnsw->store, owner, place, link);
}

void hnsw_links_sort(struct hit *hits, size_t count);

/* Writes the slot's own list: what the heuristic chooses of the candidates, level 0 filled up with
 * the nearest of the others. No other thread may write this list: lock it if it is published. */
void hnsw_links_write(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                      const struct hnsw_candidates *candidates, uint32_t level);

/* Links owner to slot on level 0, if the heuristic wants it so. */
void hnsw_links_add(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                    uint32_t slot);
/* The same on a level from 1 on. */
void hnsw_links_add_upper(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                          uint32_t slot, uint32_t level);

/* Links owner to slot on level 0 for good; false if its list is full of such links. */
bool hnsw_links_keep(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t owner,
                     uint32_t slot);
/* Makes a kept link an ordinary one. */
void hnsw_links_unkeep(const struct hnsw *hnsw, uint32_t owner, uint32_t slot);
uint32_t hnsw_links_count_kept(const struct hnsw *hnsw, uint32_t owner);

/* Joins a new slot to the tree: it and the nearest that can spare a place keep each other. */
void hnsw_links_join(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                     const struct hnsw_candidates *nearest);

/* Searches neighbours for a linked slot as for a new one, and links both ways on level 0, if there
 * is memory for it (hnsw_build.c). */
void hnsw_links_reconnect(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot);

#endif
