/* vector_index.h -- nearest neighbour search over one named vector of a collection.
 *
 * The front door of index/: it joins the graph (hnsw), the exact scan (flat), the codes and the
 * choice between them. It holds codes and links, never the original vectors: those it asks of its
 * owner when it re-scores, so every distance it returns is exact in f32.
 *
 * Distances are "smaller is nearer" whatever the metric: cosine and dot give -<q,v> (cosine's
 * vectors come normalised), Euclid the squared L2, Manhattan the L1 distance.
 *
 * Threads: vector_index_put and _reserve by the one writer; _link and _repair by builders; _search
 * by any thread. Searches take no lock; scratch memory belongs to the calling thread.
 */
#ifndef VECTOR_INDEX_H
#define VECTOR_INDEX_H

#include "index/distance.h"
#include "index/slots.h"
#include "index/status.h"
#include "index/top_k.h"

#include <stddef.h>
#include <stdint.h>

enum {
    VECTOR_DIMENSION_MAX = 65536,
    VECTOR_INDEX_EF_MAX = 10000,
    VECTOR_INDEX_M_MAX = 64,
    VECTOR_INDEX_TOGETHER_MAX = 16, /* queries of one scan */
};

struct vector_index;
struct index_scratch;

/* How the graph looks at neighbours. Owners keep the value on disk: it never changes its meaning.
 */
enum index_profile {
    INDEX_PROFILE_AUTO,  /* turbo wherever it can be */
    INDEX_PROFILE_LEAN,  /* gathers one-byte codes: the least memory */
    INDEX_PROFILE_TURBO, /* each node also knows a few bits a coordinate of its edges (edges.h), as
                            many as are fastest at the dimension: the fastest, for four times the
                            memory. Lean for Manhattan and below 16 dimensions, as are the next */
    INDEX_PROFILE_TURBO_1_BIT,
    INDEX_PROFILE_TURBO_2_BITS,
    INDEX_PROFILE_TURBO_4_BITS,
    INDEX_PROFILE_COUNT
};

/* "auto", "lean", "turbo", "turbo-1-bit", ... */
const char *index_profile_name(enum index_profile profile);

struct vector_index_options {
    uint32_t dimension;         /* 1 .. VECTOR_DIMENSION_MAX */
    enum index_profile profile; /* fixed for life */
    enum distance distance;     /* fixed for life */
    uint32_t m; /* links a node makes on the upper levels; level 0 holds 2 m. 0: 16; at least 4 */
    uint32_t ef_construct;   /* candidates of a node on level 0; at least 200 are looked at */
    uint32_t full_scan_rows; /* sets of at most so many live rows are scanned exactly. */
};

/* What the index asks of its owner during a call. Any thread that searches, links or repairs.
 * A pointer returned by vector() stays valid until the call that asked for it returns. */
struct vector_owner {
    /* The slot's `dimension` numbers, or NULL if the owner no longer has them. */
    const float *(*vector)(void *context, uint32_t slot);
    /* Which of two slots at equal distance comes first (<0: a): the owner knows ids, the index
     * does not. Asked only at ties. NULL: the lower slot. */
    int (*compare)(void *context, uint32_t a, uint32_t b);
    void *context;
};

/* Which slots a filter lets pass. */
struct slot_filter {
    const uint64_t *words; /* bit per slot, at least slot_end bits; a superset of what passes */
    uint32_t slot_end;     /* slots from here on do not pass */
    uint32_t count;        /* bits set in words */
    /* NULL: words is exact. Else decides about a slot whose bit is set. May be slow, so the index
     * asks about a slot at most once a search. */
    bool (*matches)(void *context, uint32_t slot);
    void *context;
    uint32_t estimate; /* how many slots are thought to pass; == count where words is exact */
};

/* Ways to search. */
enum index_plan {
    INDEX_PLAN_CHEAPEST, /* whichever costs least (plan.h) */
    INDEX_PLAN_EXACT,
    INDEX_PLAN_GRAPH,
    INDEX_PLAN_FILTERED_GRAPH,
};

struct index_query {
    const float *vector;              /* dimension numbers, finite; normalised for cosine */
    uint32_t k;                       /* >= 1; memory follows the number of live slots, not k */
    uint32_t ef;                      /* 0: the index's own, calibrated for recall@10 >= 0.97 */
    bool exact;                       /* scan everything: the result is exact */
    bool indexed_only;                /* leave out slots that are not linked yet */
    uint64_t operation;               /* who is visible: see slots.h */
    const struct slot_filter *filter; /* NULL: all */
    enum index_plan plan;             /* tests and benchmarks try what is not the cheapest */
    const atomic_bool *cancelled;     /* NULL, or polled every few thousand distances */
    uint64_t deadline_ns;             /* CLOCK_MONOTONIC; 0: none. Past it: STATUS_TIMEOUT */
};

struct index_answer {
    struct hit *hits;     /* nearest first, ties by owner's compare; memory of the scratch */
    size_t count;         /* min(k, number of visible slots that pass) when exact */
    enum index_plan plan; /* how it was done */
    uint64_t scored;      /* codes and vectors whose distance was taken */
    uint64_t halved;      /* of these codes so many were read by half */
};

/* Memory for one searching or building thread; grows with the largest index it has served.
 * Usable with any index, by one thread at a time. */
MUST_CHECK enum status index_scratch_create(struct index_scratch **scratch, struct error *error);
void index_scratch_free(struct index_scratch *scratch);

/* Has `offer` called about each millisecond of a call that links or repairs: others may want the
 * core. */
typedef void index_offer_fn(void *context);
void index_scratch_set_offer(struct index_scratch *scratch, index_offer_fn *offer, void *context);

/* slots is borrowed and must outlive the index; several indexes may share it. */
MUST_CHECK enum status vector_index_create(const struct vector_index_options *options,
                                           struct slots *slots, struct vector_index **index,
                                           struct error *error);
void vector_index_free(struct vector_index *index);

/* Makes room for the slots below slot_end, so that vector_index_put cannot fail. Writer. */
MUST_CHECK enum status vector_index_reserve(struct vector_index *index, uint32_t slot_end,
                                            struct error *error);

/* Takes a slot's vector: stores its code and marks it as waiting to be linked. To be called before
 * slots_born makes the slot visible; from then on searches find it (scanned until it is linked).
 * key seeds the node's level: the same keys in the same order give the same graph with one
 * builder. Slot must be reserved, and new or freed. Writer. */
void vector_index_put(struct vector_index *index, uint32_t slot, const float *vector, uint64_t key);

/* True if the slot has a vector in this index. Any thread. */
bool vector_index_has(const struct vector_index *index, uint32_t slot);

MUST_CHECK enum status vector_index_search(struct vector_index *index,
                                           const struct index_query *query,
                                           const struct vector_owner *owner,
                                           struct index_scratch *scratch,
                                           struct index_answer *answer, struct error *error);

/* How such a search would be done now if `together` queries that differ in vector, k and ef only
 * were to be answered: where several are scanned for in one pass, scanning costs less. */
enum index_plan vector_index_plan(const struct vector_index *index, const struct index_query *query,
                                  size_t together);

/* Scans exactly for several queries in one pass. They differ in vector and k only, and are at most
 * VECTOR_INDEX_TOGETHER_MAX. Each answer is that of an exact vector_index_search; a lazy filter is
 * asked at most once about a slot for all of them. */
MUST_CHECK enum status vector_index_scan(struct vector_index *index,
                                         const struct index_query *queries, size_t count,
                                         const struct vector_owner *owner,
                                         struct index_scratch *scratch,
                                         struct index_answer *answers, struct error *error);

/* Links up to `count` waiting slots into the graph, few in the order of their numbers, many in one
 * that is good for caches; *linked tells how many (0: none was waiting). Several builders may call
 * at once. STATUS_NO_MEMORY leaves them waiting. */
MUST_CHECK enum status vector_index_link(struct vector_index *index, uint32_t count,
                                         struct index_scratch *scratch, uint32_t *linked,
                                         struct error *error);

/* What else a builder does when none waits: one piece of keeping up what speeds up searches. False:
 * nothing was left to do. Several builders may call at once. */
bool vector_index_refresh(struct vector_index *index, struct index_scratch *scratch);

/* Unlinks dead slots and mends the graph around them (each must have died, at or before the oldest
 * reader's operation). Afterwards no node points at them; they may be put again after every search
 * and build that was running has ended (vector_index_epoch). Builders; not concurrently with
 * itself on one index. */
MUST_CHECK enum status vector_index_repair(struct vector_index *index, const uint32_t *dead,
                                           size_t dead_count, struct index_scratch *scratch,
                                           struct error *error);

/* Safe memory reuse: a slot that was repaired at epoch e = vector_index_epoch_advance() may be put
 * again once vector_index_epoch_passed(e). Any thread. */
uint64_t vector_index_epoch_advance(struct vector_index *index);
bool vector_index_epoch_passed(const struct vector_index *index, uint64_t epoch);

struct vector_index_info {
    uint64_t linked_count;  /* slots in the graph, dead ones included until repaired */
    uint64_t bulk_count;    /* slots that were linked by way of cells since the index was made */
    uint64_t waiting_count; /* slots that wait to be linked */
    uint64_t memory_bytes;
    uint32_t default_ef;
    enum index_profile profile; /* as chosen: LEAN or TURBO */
    uint32_t edge_bits;         /* a coordinate of an edge; 0 for LEAN */
};
void vector_index_info(const struct vector_index *index, struct vector_index_info *info);

/* What the owner writes into an image and gets back from it. */
struct index_stamp {
    uint64_t operation;   /* up to which the image knows the owner's slots */
    uint64_t incarnation; /* of the owner */
};

/* The image: everything but the original vectors, so that a start need not build again. A whole
 * image has all, edges included. A delta has the slots that changed since a whole image was
 * written, for which it costs a fraction; it replaces the delta before it. Each is a file of its
 * own, which the owner opens, syncs and names; they are a cache: whatever is wrong with them, they
 * are refused and the graph is built anew. */
enum index_image {
    INDEX_IMAGE_WHOLE,
    INDEX_IMAGE_DELTA,
    INDEX_IMAGE_KINDS,
};

/* What to save: a delta where there is a whole image that it can go with, of which it would take
 * less than a quarter. Builder. */
enum index_image vector_index_image_due(const struct vector_index *index);

/* fd is empty, open for writing, and stays the caller's. STATUS_NO_SPACE, _IO, _NO_MEMORY. After a
 * whole image deltas go with that one; if it does not come to stand where the next start looks for
 * it, the caller says so by _forget_image. A delta needs a whole image before it.
 * Searches, puts and links may go on meanwhile, and wait for nothing but, each time, the copy of a
 * slot whose list a builder wants to change; repairs may not. The thread offers its core after each
 * piece of about 1 MiB. Builder. */
MUST_CHECK enum status vector_index_save(struct vector_index *index, int fd, enum index_image kind,
                                         const struct index_stamp *stamp, struct error *error);

/* The next image is to be a whole one. Builder. */
void vector_index_forget_image(struct vector_index *index);

/* Files to load from; both stay the caller's. */
struct index_files {
    int whole, delta; /* delta: -1 if there is none */
};

/* Fills a fresh index from an image, and the delta that goes with it; one that goes with another
 * image is passed over, as a crash may leave it. Every byte is untrusted, and checked before this
 * returns; but for edges, which only make searches faster: they are left to vector_index_settle.
 * The files may be closed afterwards, and replaced, not changed. Which of its slots live is the
 * owner's to say: it calls vector_index_repair for those whose point died or changed since
 * `operation`, and vector_index_put for what came later, before the first search. On failure
 * (STATUS_CORRUPT, _IO, _NO_MEMORY) the index is to be freed. */
MUST_CHECK enum status vector_index_load(struct vector_index *index,
                                         const struct index_files *files, struct index_stamp *stamp,
                                         struct error *error);

/* What _load has left to be done. */
enum index_rest {
    INDEX_REST_NONE,
    INDEX_REST_PIECES, /* of the file, to be read */
    INDEX_REST_IN_USE, /* memory to be given back, which running searches may look at */
};

/* Reads a piece (about 1 MiB) of what _load left in the file, while searches, puts and links go on,
 * or gives back what was needed until all were read; tells what is left. What turns out to be
 * damaged is written anew by vector_index_refresh. One builder at a time, and none in _save or
 * _repair. */
enum index_rest vector_index_settle(struct vector_index *index);

/* Checks the graph's invariants (ids in range, degrees in bounds, every live linked slot reachable,
 * no freed slot referenced). Quiet index only. For tests and `nigh verify`. */
MUST_CHECK enum status vector_index_check(const struct vector_index *index, struct error *error);

#endif
