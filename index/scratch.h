/* scratch.h -- memory that one searching or building thread lends to its calls.
 *
 * It grows to the largest index and the largest pool it has served and is kept, so that a search
 * allocates nothing once its thread is warm. One thread at a time.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include "index/bucket_queue.h"
#include "index/edges.h"
#include "index/top_k.h"
#include "index/vector_index.h"
#include "index/visited.h"

/* An array of hits that grows. */
struct scratch_hits {
    struct hit *items;
    size_t capacity;
};

/* Words of a bitmap that grows. */
struct scratch_words {
    uint64_t *words;
    size_t capacity;
};

/* What each query of a scan needs for itself where several share a pass. */
struct scratch_lane {
    struct code_query query;
    struct scratch_hits rows, heap; /* see struct flat_lane */
    struct scratch_hits found;      /* its answer */
};

struct index_scratch {
    struct visited visited;
    struct code_query query;     /* what is searched, or the node that is linked */
    struct code_query node;      /* a node whose list is pruned */
    struct code_query candidate; /* the candidate that pruning looks at */
    struct code_batch batch;
    struct code_batch pair_batch;     /* of pruning, which runs while batch is in use */
    struct code_block block;          /* of an exact scan */
    uint32_t nearer[CODES_BATCH_MAX]; /* places of a batch that are near enough */
    float estimates[KERNELS_EDGES];   /* of the places of a block */
    struct edge_work edges;           /* for writing edges */
    bool leaves_edges;                /* of lists that change, to hnsw_edges_refresh */
    struct scratch_hits pool;         /* nodes a walk has met, nearest first */
    struct bucket_queue queue;        /* nodes that a walk by edges may expand */
    struct scratch_hits found;        /* the answer, and heaps on the way to it */
    struct scratch_hits rows;         /* rows a scan cannot exclude yet */
    struct scratch_lane *lanes;       /* lanes_count of them */
    size_t lanes_count;
    index_offer_fn *offer; /* see index_scratch_set_offer; NULL: nobody wants the core */
    void *offer_context;
    struct scratch_words asked;  /* slots about which a lazy filter was asked */
    struct scratch_words passed; /* ... and which it let pass */
};

static inline void scratch_offer_core(const struct index_scratch *scratch) {
    if (scratch->offer)
        scratch->offer(scratch->offer_context);
}

/* Each is false when memory ends; contents are kept. */
bool scratch_reserve_hits(struct scratch_hits *hits, size_t count);
bool scratch_reserve_words(struct scratch_words *words, size_t count);

/* Room for `count` queries of one scan with codes of `width` bytes. */
bool scratch_reserve_lanes(struct index_scratch *scratch, size_t count, size_t width);
/* Gives back what a scan took for rows that it could not exclude, beyond what is usual. */
void scratch_trim_lanes(struct index_scratch *scratch);

/* Room for walks over slots below slot_end with codes of `width` bytes, and for writing edges. */
bool scratch_reserve(struct index_scratch *scratch, uint32_t slot_end, size_t width);

#endif
