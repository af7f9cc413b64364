/* hnsw_bulk.h -- linking many slots that wait: candidates from cells instead of walks.
 *
 * A walk measures some two thousand codes for an insertion, each at a random place, and waits for
 * most of them. Where many slots wait, they are dealt with a batch at a time instead: the slots of
 * the graph and of the batch lie in cells (cells.h), and a group of the batch's slots that are near
 * each other is compared with all codes of the cells near it, of which each comes from memory once
 * for the whole group. What is nearest is improved by expanding the first of it in the graph. The
 * insertion is the same otherwise, and the graph as good (docs/ENGINE.md).
 *
 * All that comes before is cut into pieces of up to a millisecond, of which builders take a few
 * each time before they link a slot: centres are trained on a sample, the graph's slots are put
 * into cells, the batch finds the cells near its slots. Cells serve batch after batch until the
 * graph has doubled, and what is left of a load then if it is little. What ends a phase is one
 * builder's, in one go: sums of centres and the order of cells take some 50 ms where there are a
 * million slots.
 *
 * Threads: builders that hold the gate shared and are in the index's epoch, so that no code changes
 * while they look at it. What several of them change is under hnsw.claim_lock.
 */
#ifndef HNSW_BULK_H
#define HNSW_BULK_H

#include "index/cells.h"
#include "index/scratch.h"

enum hnsw_bulk_phase {
    HNSW_BULK_IDLE,
    HNSW_BULK_TRAINING, /* centres move, to the means of a sample */
    HNSW_BULK_FILLING,  /* the graph's slots go into cells */
    HNSW_BULK_FINDING,  /* the cells near each slot of the batch are found */
    HNSW_BULK_LINKING,  /* groups are handed out */
    HNSW_BULK_PHASES,
};

enum {
    HNSW_GROUP_MAX = 256, /* slots of a group */
    HNSW_GROUPS_MAX = 16, /* builders beyond walk */
};

struct hnsw_bulk {
    enum hnsw_bulk_phase phase;
    bool is_changing; /* a builder readies the next phase, and alone touches it meanwhile */
    uint32_t rounds;  /* of training that are done */
    struct hnsw_group *groups[HNSW_GROUPS_MAX]; /* owned; NULL: none yet */
    struct cells cells;                         /* count 0: none */
    uint64_t members;                           /* slots in their lists */
    uint64_t made_for;                          /* slots of graph and batch when they were made */
    uint64_t unlinked;                          /* hnsw.unlinked then */
    uint64_t refused_at; /* slots of the graph when cells were not to be had; 0: never */
    /* What the phase goes through, and the cells of each: those of slot i from found[i * wanted]
     * on. Owned; in one map. */
    uint32_t *slots;
    uint16_t *found;
    size_t map_bytes;
    size_t slots_count;
    size_t wanted;      /* cells that are looked for for each */
    size_t taken, done; /* slots of which builders took care, or have taken care */
    uint32_t *turns;    /* owned: in which order a batch's slots are linked, as indices */
    size_t turns_next;  /* the first that no group has, or has had */
};

struct hnsw;
struct walk;

/* In the graph, or soon. Its code does not change as long as the builder is in the index's epoch.
 */
static inline bool hnsw_bulk_may_read(const struct store *store, uint32_t slot) {
    return store_is_linked(store, slot) ||
           (store_is_present(store, slot) && store_is_waiting(store, slot));
}

void hnsw_bulk_free(struct hnsw_bulk *bulk);

/* Does some pieces of what comes before linking, and begins a batch if enough slots wait. False
 * if slots are linked one by one. */
bool hnsw_bulk_work(struct hnsw *hnsw, struct index_scratch *scratch);

/* Claims the next slot of a group: of the one that the same thread had last, a new one, which is
 * compared with its cells first, or one that was left. NULL if there is none. To be returned. */
struct hnsw_group *hnsw_bulk_claim(struct hnsw *hnsw, struct index_scratch *scratch,
                                   uint32_t *slot);
void hnsw_bulk_return(struct hnsw *hnsw, struct hnsw_group *group);

/* No slot waits: gives the memory back. */
void hnsw_bulk_end(struct hnsw *hnsw);

/* ---- Groups (hnsw_group.c) ---------------------------------------------------------------------
 */

/* Slots of a batch, neighbours, and what is near each. */
struct hnsw_group {
    bool is_taken;     /* by a builder, who alone touches it meanwhile */
    const void *owner; /* the scratch of the builder who had it last; never looked into */
    uint64_t unlinked; /* hnsw.unlinked before their distances were taken */
    size_t count, next;
    uint32_t slots[HNSW_GROUP_MAX];
    const uint16_t *found[HNSW_GROUP_MAX]; /* while it is measured: cells near each */
    struct group_memory *memory;           /* owned */
};

/* Memory for a group of the bulk's present batch; false when it ends. */
bool hnsw_group_reserve(struct hnsw_group *group, const struct hnsw *hnsw);
void hnsw_group_free(struct hnsw_group *group);

/* Compares the group's slots with the codes of their cells. */
void hnsw_group_measure(struct hnsw_group *group, const struct hnsw *hnsw,
                        struct index_scratch *scratch);

/* Fills the pool of a walk, whose query is the slot that was claimed last, with candidates for it;
 * false if there are none: then a walk must find them. */
bool hnsw_group_candidates(struct walk *walk, const struct hnsw_group *group, uint32_t slot);

#endif
