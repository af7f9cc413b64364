/* hnsw.h -- the graph: Hierarchical Navigable Small World (Malkov & Yashunin 2018) over codes.
 *
 * Where we differ from the paper:
 * - distances are those of codes; the caller measures the best again with the vectors;
 * - level-0 lists hold fillers in the places that pruning leaves free (top bit of the id): nearest
 *   candidates that were not chosen. Walks skip them, a link back overwrites them;
 * - each slot keeps a pair of links with one that was there before it: a tree through all slots
 * that pruning leaves alone, so that no outlier and no tight cluster ever loses its way in;
 * - a slot whose code equals that of a linked slot becomes its twin (hnsw_twins.c);
 * - up to HNSW_SEEDS_MAX slots far from all others are looked at by every walk of level 0, for no
 *   list leads to them for sure (hnsw_seeds.c);
 * - a list is published bottom-up: a slot's level-0 list is whole before a higher level leads to
 *   it. The other order loses recall for good where two builders meet.
 *
 * Threads: any number of searches without locks, any number of builders (hnsw_link), one repair.
 * A builder holds `gate` shared while it links one slot, and one slot's spin lock while it changes
 * that slot's lists. Order: gate, entry_lock, slot lock; upper_links' lock is a leaf.
 */
#ifndef HNSW_H
#define HNSW_H

#include "index/hnsw_bulk.h"
#include "index/search.h"
#include "index/upper_links.h"

/* Flags beside the slot of a level-0 link. */
#define HNSW_FILLER UINT32_C(0x80000000)
#define HNSW_KEPT   UINT32_C(0x40000000) /* belongs to the tree: never pruned */

enum {
    HNSW_SEEDS_MAX = 64, /* slots each walk measures besides those it meets: bounds its cost */
    HNSW_CANDIDATES_MAX = 1024, /* from which neighbours are chosen: caps ef_construct */
    HNSW_EF_UNCALIBRATED = 128, /* until the graph is large enough to calibrate */
    HNSW_CALIBRATED_MIN = 1024, /* slots: smaller graphs keep the first default ef */
    HNSW_PLACES_MAX = 2 * VECTOR_INDEX_M_MAX, /* of the longest list */
    HNSW_TWIN_LINKED = 2, /* place in a twin's list: of which slot it is one; hnsw_twins.c */
};

/* Slots so far from all others that links do not lead there for sure; see hnsw_seeds.c. */
struct hnsw_seeds {
    _Atomic uint32_t slots[HNSW_SEEDS_MAX]; /* SLOT_NONE where empty */
    _Atomic uint32_t used;                  /* places from here on are empty; never falls */
    float isolation[HNSW_SEEDS_MAX];        /* of each; under the lock */
    _Atomic uint64_t changes;               /* slots linked or unlinked since all were examined */
    pthread_mutex_t lock;                   /* a leaf */
};

/* Slots that wait, in the order in which they are linked; see hnsw_order.c. Under the lock of
 * claims. */
struct hnsw_order {
    struct hnsw_order_entry *entries; /* owned; NULL until first wanted */
    size_t count, next;               /* the turns from `next` on are still to come */
    bool is_being_made;               /* by a builder, who alone touches it meanwhile */
};

struct hnsw {
    struct store *store;
    const struct code_space *space;
    uint32_t m;            /* links a slot makes; places of upper lists */
    uint32_t ef_construct; /* candidates of a slot's neighbours */
    struct upper_links upper;
    _Atomic uint64_t entry;         /* level << 32 | slot; HNSW_NO_ENTRY while empty */
    _Atomic uint64_t linked;        /* slots in the graph, twins included */
    _Atomic uint32_t scored_per_ef; /* x 256: distances a walk takes for each entry of its pool */
    _Atomic float walk_per_ef;      /* the same for searches, by edges where there are: of trials */
    _Atomic float walk_ns;          /* what one of those takes, all included; 0: not measured yet */
    _Atomic uint32_t default_ef;    /* of searches that name none; see hnsw_calibrate.c */
    _Atomic uint64_t calibrated_at; /* slots that were linked when it was set; 0: edges were stale,
                                       so that it must be when they are written */
    pthread_mutex_t entry_lock;     /* held by a builder whose slot may become the entry */
    pthread_rwlock_t gate; /* shared: a slot is being linked; exclusive: none is, as a repair
                              or a save begins or records become whole */
    struct hnsw_seeds seeds;
    pthread_mutex_t claim_lock; /* guards claim_cursor, claims, order and bulk; a leaf */
    uint32_t claim_cursor;      /* no slot below waits unclaimed */
    struct hnsw_order order;
    struct hnsw_bulk bulk;
    _Atomic uint64_t linked_in_bulk; /* slots that found candidates there, all told */
    _Atomic uint64_t unlinked;       /* slots that repairs took out, all told */
    _Atomic uint64_t released;       /* times that twins began or ended to wait again: odd, some are
                                        neither in the graph nor waiting */
    _Atomic uint32_t edges_cursor;   /* up to which this pass has written stale edges */
};

#define HNSW_NO_ENTRY UINT64_MAX

void hnsw_init(struct hnsw *hnsw, struct store *store, const struct code_space *space);
void hnsw_free(struct hnsw *hnsw);

/* The level of a slot with this key: 0 for 15 of 16 at m = 16. */
uint8_t hnsw_level(const struct hnsw *hnsw, uint64_t key);

static inline uint32_t hnsw_entry_slot(uint64_t entry) {
    return (uint32_t)entry;
}

static inline uint32_t hnsw_entry_level(uint64_t entry) {
    return (uint32_t)(entry >> 32);
}

/* The list of a slot on a level it reaches, and its number of places. */
static inline _Atomic uint32_t *hnsw_list(const struct hnsw *hnsw, uint32_t slot, uint32_t level) {
    if (level == 0)
        return store_links(hnsw->store, slot);
    uint32_t block =
        atomic_load_explicit(&store_node(hnsw->store, slot)->upper, memory_order_relaxed);
    return upper_links_list(&hnsw->upper, block, level);
}

static inline uint32_t hnsw_places(const struct hnsw *hnsw, uint32_t level) {
    return level == 0 ? hnsw->store->link_count : hnsw->m;
}

/* Between two pieces of long work by whoever holds the gate shared: a repair or a save that waits
 * for it begins, and readers have the core. Links may have changed afterwards; slots are no other
 * ones, as the caller is in the epoch. */
static inline void hnsw_pause(struct hnsw *hnsw, const struct index_scratch *scratch) {
    pthread_rwlock_unlock(&hnsw->gate);
    scratch_offer_core(scratch);
    pthread_rwlock_rdlock(&hnsw->gate);
}

/* ---- Walking (hnsw_walk.c) --------------------------------------------------------------------
 */

/* A walk: the `ef` nearest nodes met so far in scratch->pool, nearest first. */
struct walk {
    const struct hnsw *hnsw;
    const struct code_query *query;
    struct index_scratch *scratch;
    struct hit *pool;
    size_t count, ef;
    size_t cursor;   /* all before it in the pool were expanded */
    size_t kept_max; /* of the expanded nodes, a walk by edges keeps so many, and at most ef */
    bool was_full;   /* the walk met more than ef nodes */
    uint32_t level;  /* that is walked on */
    struct search *search;    /* polled and asked about filters; NULL while building */
    struct hnsw_group *group; /* building: what knows candidates; NULL: a walk must find them */
    uint64_t scored;
};

/* scratch must be reserved for the store's slots; makes room for the pool. */
bool hnsw_walk_init(struct walk *walk, const struct hnsw *hnsw, struct index_scratch *scratch,
                    size_t ef);

/* From the entry (not HNSW_NO_ENTRY) greedily down to `level`: the nearest node found there. */
struct hit hnsw_walk_descend(struct walk *walk, uint64_t entry, uint32_t level);

/* Fills the pool by walking on one level from `start`, whose distance is known. */
void hnsw_walk_level(struct walk *walk, struct hit start, uint32_t level);

/* The same on level 0 by the edges of nodes: for a query of codes_query_vector, where the store
 * keeps edges (hnsw_edge_walk.c). The pool gets the nodes that were expanded. */
void hnsw_walk_edges(struct walk *walk, struct hit start);

/* Fills the pool with the nearest nodes from the entry on, by edges where the store has them; the
 * query must then have been given to codes_query_edges. */
void hnsw_walk_nearest(struct walk *walk, uint64_t entry);

/* The same from `start` and from slots that pass, over slots that pass (hnsw_filter.c); ends early
 * once scored_max distances were taken. The search has a filter. */
void hnsw_walk_filtered(struct walk *walk, struct hit start, uint64_t scored_max);

/* What walks are made of. _take measures the batch and inserts what belongs into the pool (and is
 * accepted). _next marks the nearest slot that was not expanded yet as expanded; false at the end
 * of the pool. _end takes the marks off. */
typedef bool hnsw_accepts_fn(void *walk, uint32_t slot);
void hnsw_walk_take(struct walk *walk, hnsw_accepts_fn *accepts);
bool hnsw_walk_next(struct walk *walk, uint32_t *slot);
void hnsw_walk_end(struct walk *walk);
/* Makes the pool longer, if need be; false when memory ends. */
bool hnsw_walk_reserve(struct walk *walk, size_t count);
/* Expands up to `max` of the nodes in the pool, all of which are visited. */
void hnsw_walk_refine(struct walk *walk, size_t max);
/* Inserts a hit that is nearer than the last, or finds room; returns its place. */
size_t hnsw_walk_insert(struct walk *walk, struct hit hit);
/* Puts the seeds, which links may fail to lead to, into the batch. */
void hnsw_walk_add_seeds(struct walk *walk);

/* ---- Building (hnsw_build.c, hnsw_select.c, hnsw_twins.c; in bulk: hnsw_bulk.h) ---------------
 */

/* Links one waiting slot. False: none waits (*linked false) or memory ends (STATUS_NO_MEMORY). */
MUST_CHECK enum status hnsw_link(struct hnsw *hnsw, struct index_scratch *scratch, bool *linked,
                                 struct error *error);

/* Puts slots that wait in large numbers in an order, if there is none; a few milliseconds. The next
 * of it is claimed under claim_lock; false if none is left. */
void hnsw_order_make(struct hnsw *hnsw, struct index_scratch *scratch);
bool hnsw_order_claim(struct hnsw *hnsw, uint32_t *slot);
void hnsw_order_free(struct hnsw_order *order);

/* Slots that might become links, nearest first; at most HNSW_CANDIDATES_MAX. */
struct hnsw_candidates {
    struct hit *hits;
    size_t count;
};

/* Marks the at most `max` candidates that the heuristic of the paper chooses; their number. */
size_t hnsw_select(const struct hnsw *hnsw, struct index_scratch *scratch,
                   const struct hnsw_candidates *candidates, size_t max, bool *is_chosen);

/* Sets default_ef from walks of sampled slots (hnsw_calibrate.c). Builder. */
void hnsw_calibrate(struct hnsw *hnsw, struct index_scratch *scratch);

/* Writes some of the edges that are not written, as after a start; false if there are none
 * (hnsw_edges.c). Builder. */
bool hnsw_edges_refresh(struct hnsw *hnsw, struct index_scratch *scratch);

/* The same for one slot, if it is linked. While the gate is held; scratch is reserved. */
void hnsw_edges_refresh_slot(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot);

/* True if all edges of the slot that do not count as stale are what they would be if they were
 * written now. bytes: room for a block of edges, in cache lines. While no slot is linked. */
bool hnsw_edges_are_right(const struct hnsw *hnsw, uint32_t slot, struct edge_work *work,
                          uint8_t *bytes);

/* True if some of the edges may be stale, so that walks measure codes in their place. */
bool hnsw_edges_are_stale(const struct hnsw *hnsw);

/* The slot's list changed: writes its edges, where the store has some, or leaves them to
 * _refresh. Under the slot's lock; scratch is reserved. */
void hnsw_edges_write(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot);

void hnsw_lock(const struct hnsw *hnsw, uint32_t slot);
void hnsw_unlock(const struct hnsw *hnsw, uint32_t slot);

/* Makes `slot` a twin of the linked slot `of`. */
void hnsw_twins_add(struct hnsw *hnsw, uint32_t of, uint32_t slot);
/* Takes a twin out of its chain. */
void hnsw_twins_remove(struct hnsw *hnsw, uint32_t slot);
/* The first candidate with the very code of `slot`, or SLOT_NONE. */
uint32_t hnsw_twins_find(const struct hnsw *hnsw, uint32_t slot,
                         const struct hnsw_candidates *candidates);
/* The first twin of a linked slot, and the next of a twin; SLOT_NONE at the end. */
uint32_t hnsw_twins_first(const struct hnsw *hnsw, uint32_t slot);
uint32_t hnsw_twins_next(const struct hnsw *hnsw, uint32_t twin);
/* The linked slot on which a twin hangs. */
uint32_t hnsw_twins_linked(const struct hnsw *hnsw, uint32_t twin);

/* ---- Seeds (hnsw_seeds.c) ----------------------------------------------------------------------
 */

void hnsw_seeds_init(struct hnsw_seeds *seeds);
void hnsw_seeds_free(struct hnsw_seeds *seeds);

static inline uint32_t hnsw_seeds_load(const struct hnsw_seeds *seeds, size_t place) {
    return atomic_load_explicit(&seeds->slots[place], memory_order_acquire);
}
bool hnsw_seeds_has(const struct hnsw_seeds *seeds, uint32_t slot);

/* Makes a seed of the slot, if there is room or it is more isolated than another. */
void hnsw_seeds_add(struct hnsw_seeds *seeds, uint32_t slot, float isolation);
/* Makes a seed of the slot if it is far from all others. Builder or repair. */
void hnsw_seeds_examine(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot);
/* The same for a slot that was just linked, its candidates nearest first. */
void hnsw_seeds_examine_new(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                            const struct hnsw_candidates *found);
/* So many slots were linked or unlinked; and, when none waits and many were, all are
 * examined. Builder. */
void hnsw_seeds_changed(struct hnsw_seeds *seeds, uint64_t slots);
void hnsw_seeds_refresh(struct hnsw *hnsw, struct index_scratch *scratch);
/* Drops the seeds that are not linked (any more) or leave. While no builder is under way. */
void hnsw_seeds_drop_unlinked(struct hnsw *hnsw);

/* ---- Repairing (hnsw_repair.c), checking (hnsw_check.c) ---------------------------------------
 */

/* See vector_index_repair. */
MUST_CHECK enum status hnsw_repair(struct hnsw *hnsw, const uint32_t *dead, size_t dead_count,
                                   struct index_scratch *scratch, struct error *error);

/* Learns from a walk how many distances its pool took. */
void hnsw_learn_cost(struct hnsw *hnsw, const struct walk *walk);

/* What a walk of hnsw_walk_nearest costs: distances for each entry of its pool, and nanoseconds
 * each; 0 ns: a code's at a random place. Any thread. */
struct walk_price {
    double scored_per_ef, scored_ns;
};
struct walk_price hnsw_walk_price(const struct hnsw *hnsw);

/* The linked slot of the highest level that is not leaving, as an entry; HNSW_NO_ENTRY if none. */
uint64_t hnsw_find_entry(const struct hnsw *hnsw);

/* See vector_index_check. */
MUST_CHECK enum status hnsw_check(const struct hnsw *hnsw, const struct slots *slots,
                                  struct error *error);

/* ---- Searching (hnsw_search.c) ----------------------------------------------------------------
 */

/* How to walk. */
struct hnsw_way {
    size_t ef;           /* what the recall should be that of */
    size_t walk_ef;      /* length of the pool: more where much of it will be dropped */
    bool is_filtered;    /* keep to slots that pass */
    double share;        /* of the rows, that may pass */
    uint64_t scored_max; /* distances after which an exact scan is the cheaper way */
};

/* Offers to `top` the best of what a walk finds, measured exactly. *is_complete is false when the
 * graph gave too little: the caller then scans. */
MUST_CHECK enum status hnsw_search(struct search *search, const struct hnsw *hnsw,
                                   const struct hnsw_way *way, struct top_k *top,
                                   bool *is_complete);

#endif
