/* In which order slots are linked that wait in large numbers, but not in bulk (hnsw_bulk.h), for
 * which they are too few or not fit: neighbours after each other.
 *
 * An insertion looks at hundreds of nodes, most of them far from the caches. One that comes right
 * after an insertion nearby finds them in the cache: at 100,000 x 768 a build takes a fifth less
 * time, and the graph is as good, since a batch is small beside the graph it enters. (Locality of
 * batches as in the bulk loading of spatial indexes; the upper levels take the place of a curve.)
 *
 * A batch is ordered by the path on which a descent through the upper levels reaches its slots. It
 * is a hint: a slot that does not wait any more when its turn comes is passed over.
 *
 * Threads: builders that hold the gate shared; one of them makes a batch, the others link meanwhile
 * in the order of slots.
 */
#include "index/hnsw.h"
#include "index/hnsw_links.h"

#include <stdlib.h>
#include <string.h>

enum {
    PATH_LEVELS = 3,   /* of a path, and */
    PATH_END = 2,      /* the lowest of them */
    BATCH_MIN = 128,   /* slots: fewer are linked as they come */
    BATCH_MAX = 2048,  /* makes some 10 ms of descents */
    PARTS = 8,         /* of a batch; builders that may link at the same time */
    GRAPH_BATCHES = 4, /* the graph is so many times as large as a batch that enters it */
};

/* A slot that waits, and the nodes nearest to it on some levels, the highest first. */
struct hnsw_order_entry {
    uint32_t path[PATH_LEVELS];
    uint32_t slot;
};

void hnsw_order_free(struct hnsw_order *order) {
    free(order->entries);
}

static int by_path(const void *left, const void *right) {
    const struct hnsw_order_entry *a = left, *b = right;
    for (size_t i = 0; i < PATH_LEVELS; i++) {
        if (a->path[i] != b->path[i])
            return a->path[i] < b->path[i] ? -1 : 1;
    }
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Each part takes its turn, also where the last ones are shorter. */
static size_t turns_of(const struct hnsw_order *order) {
    return (order->count + PARTS - 1) / PARTS * PARTS;
}

/* Under claim_lock: begins a batch with the lowest slots that wait; false if none is wanted. */
static bool begin(struct hnsw *hnsw) {
    struct hnsw_order *order = &hnsw->order;
    const struct store *store = hnsw->store;
    uint64_t max = atomic_load_explicit(&hnsw->linked, memory_order_relaxed) / GRAPH_BATCHES;
    max = max < BATCH_MAX ? max : BATCH_MAX;
    if (order->is_being_made || order->next < turns_of(order) || max < BATCH_MIN ||
        atomic_load_explicit(&store->waiting_count, memory_order_relaxed) < BATCH_MIN)
        return false;
    if (!order->entries)
        order->entries = malloc(BATCH_MAX * sizeof(*order->entries));
    if (!order->entries)
        return false; /* the order of slots will do */
    order->next = order->count = 0;
    for (uint32_t slot = hnsw->claim_cursor; order->count < max && store_find_waiting(store, &slot);
         slot++)
        order->entries[order->count++].slot = slot;
    order->is_being_made = order->count > 0;
    return order->is_being_made;
}

static void find_path(const struct hnsw *hnsw, struct walk *walk, uint64_t entry,
                      struct hnsw_order_entry *found) {
    struct store *store = hnsw->store;
    codes_query_row(hnsw->space, store_code(store, found->slot), *store_meta(store, found->slot),
                    &walk->scratch->query);
    for (uint32_t i = 0; i < PATH_LEVELS; i++) {
        uint32_t level = PATH_END + PATH_LEVELS - 1 - i;
        struct hit nearest = hnsw_walk_descend(walk, entry, level);
        found->path[i] = nearest.slot;
        if (hnsw_entry_level(entry) > level)
            entry = (uint64_t)level << 32 | nearest.slot;
    }
}

void hnsw_order_make(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct hnsw_order *order = &hnsw->order;
    struct walk walk;
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    if (entry == HNSW_NO_ENTRY || !hnsw_walk_init(&walk, hnsw, scratch, 1))
        return;
    pthread_mutex_lock(&hnsw->claim_lock);
    bool is_begun = begin(hnsw);
    pthread_mutex_unlock(&hnsw->claim_lock);
    if (!is_begun)
        return;
    for (size_t i = 0; i < order->count; i++)
        find_path(hnsw, &walk, entry, &order->entries[i]);
    qsort(order->entries, order->count, sizeof(order->entries[0]), by_path);
    pthread_mutex_lock(&hnsw->claim_lock);
    order->is_being_made = false;
    pthread_mutex_unlock(&hnsw->claim_lock);
}

/* By turns from each part of the batch: of two neighbours that are linked at the same time neither
 * would find the other. */
bool hnsw_order_claim(struct hnsw *hnsw, uint32_t *slot) {
    struct hnsw_order *order = &hnsw->order;
    size_t part = turns_of(order) / PARTS;
    while (!order->is_being_made && order->next < turns_of(order)) {
        size_t turn = order->next++, entry = turn % PARTS * part + turn / PARTS;
        if (entry >= order->count)
            continue;
        *slot = order->entries[entry].slot;
        if (store_claim_slot(hnsw->store, *slot))
            return true;
    }
    return false;
}
