/* store.h -- what an index keeps for each slot: code, links and a few numbers.
 *
 * Chunks of STORE_CHUNK slots that never move, so that readers need no lock. A chunk is one map of
 * arrays, of which only the pages in use take memory; huge pages are asked for once an array has
 * filled its first one.
 *
 * Threads: the writer reserves and puts; builders change links, nodes, twins, uppers; anyone reads.
 * What is not atomic is written before the slot is marked as present, and not again until no search
 * can meet the slot any more.
 */
#ifndef STORE_H
#define STORE_H

#include "index/bitmap.h"
#include "index/codes.h"
#include "index/slots.h"

enum {
    STORE_CHUNK_BITS = 15,
    STORE_CHUNK = 1 << STORE_CHUNK_BITS,
    STORE_CHUNK_WORDS = STORE_CHUNK / BITMAP_WORD_BITS,
    STORE_CHUNKS_MAX = 1 << 15, /* 2^30 slots */
};

/* Where a slot is in the graph. */
enum store_kind {
    STORE_UNLINKED, /* not in the graph (yet) */
    STORE_LINKED,
    STORE_TWIN, /* same code as a linked slot, which leads to it: see hnsw_twins.c */
};

struct store_node {
    atomic_uchar lock;        /* spin lock of the slot's lists */
    atomic_uchar kind;        /* enum store_kind */
    atomic_uchar level;       /* highest level it is, or will be, linked on */
    atomic_uchar level_limit; /* levels its block of upper links has room for */
    _Atomic uint32_t upper;   /* first block of its upper links; see upper_links.h */
    _Atomic uint32_t twin;    /* first of its twins, or SLOT_NONE */
};

struct store_chunk {
    uint8_t *codes;          /* STORE_CHUNK rows of code_bytes; start of the map */
    _Atomic uint32_t *links; /* level 0: STORE_CHUNK rows of link_stride */
    struct code_meta *metas;
    struct store_node *nodes;
    float *errors;             /* see codes_encode */
    _Atomic uint64_t *present; /* bit per slot: it has a vector */
    _Atomic uint64_t *waiting; /* ... that is not linked yet, so that searches scan it */
    _Atomic uint64_t *claimed; /* ... that a builder is linking */
    _Atomic uint64_t *leaving; /* ... that is being unlinked: no new links to it */
    _Atomic uint64_t *leading; /* ... that has twins */
    _Atomic uint32_t waiting_count;
    size_t huge_codes, huge_links; /* bytes in huge pages so far; writer only */
};

struct store {
    struct store_chunk *chunks; /* STORE_CHUNKS_MAX, zero until reserved */
    size_t code_bytes;          /* a multiple of 64 */
    uint32_t link_count;        /* places of a level-0 list */
    uint32_t link_stride;       /* the same, rounded up to whole cache lines */
    size_t chunk_bytes;
    uint32_t chunks_count;          /* writer only */
    _Atomic uint32_t end;           /* reserved slots, in whole chunks */
    _Atomic uint64_t present_count; /* slots that have a vector */
    _Atomic uint64_t waiting_count;
};

/* False when memory ends. _free accepts a zeroed store. */
bool store_init(struct store *store, size_t code_bytes, uint32_t link_count);
void store_free(struct store *store);
bool store_reserve(struct store *store, uint32_t slot_end);

/* Bytes that the slots in use take. */
uint64_t store_memory_bytes(const struct store *store);

/* Before the row of a slot is written: asks for huge pages where they pay. Writer. */
void store_prepare(struct store *store, uint32_t slot);
/* Marks a slot whose code, meta and error are written as present and waiting to be linked up to
 * `level`. Writer. */
void store_put(struct store *store, uint32_t slot, uint8_t level);
/* Takes a slot out again. Gone for the flat scan; nobody may link to it. */
void store_remove(struct store *store, uint32_t slot);

/* A linked slot or twin that a builder took out of the graph waits to be linked again. */
void store_wait_again(struct store *store, uint32_t slot);

/* Claims the lowest waiting slot from *cursor on; false if there is none. Callers exclude each
 * other. */
bool store_claim(struct store *store, uint32_t *cursor, uint32_t *slot);
/* Ends a claim: the slot is linked, or goes on waiting. */
void store_unclaim(struct store *store, uint32_t slot, bool is_linked);

static inline uint32_t store_end(const struct store *store) {
    return atomic_load_explicit(&store->end, memory_order_acquire);
}

static inline struct store_chunk *store_chunk(const struct store *store, uint32_t slot) {
    return &store->chunks[slot >> STORE_CHUNK_BITS];
}

static inline uint8_t *store_code(const struct store *store, uint32_t slot) {
    return store_chunk(store, slot)->codes + (slot & (STORE_CHUNK - 1)) * store->code_bytes;
}

static inline _Atomic uint32_t *store_links(const struct store *store, uint32_t slot) {
    return store_chunk(store, slot)->links +
           (size_t)(slot & (STORE_CHUNK - 1)) * store->link_stride;
}

static inline struct code_meta *store_meta(const struct store *store, uint32_t slot) {
    return &store_chunk(store, slot)->metas[slot & (STORE_CHUNK - 1)];
}

static inline float *store_error(const struct store *store, uint32_t slot) {
    return &store_chunk(store, slot)->errors[slot & (STORE_CHUNK - 1)];
}

static inline struct store_node *store_node(const struct store *store, uint32_t slot) {
    return &store_chunk(store, slot)->nodes[slot & (STORE_CHUNK - 1)];
}

static inline enum store_kind store_kind(const struct store *store, uint32_t slot) {
    return atomic_load_explicit(&store_node(store, slot)->kind, memory_order_acquire);
}

static inline bool store_is_present(const struct store *store, uint32_t slot) {
    return slot < store_end(store) &&
           bitmap_atomic_test(store_chunk(store, slot)->present, slot & (STORE_CHUNK - 1));
}

static inline bool store_is_waiting(const struct store *store, uint32_t slot) {
    return bitmap_atomic_test(store_chunk(store, slot)->waiting, slot & (STORE_CHUNK - 1));
}

/* True if the slot has, or had, twins. */
static inline bool store_is_leading(const struct store *store, uint32_t slot) {
    return bitmap_atomic_test(store_chunk(store, slot)->leading, slot & (STORE_CHUNK - 1));
}

static inline bool store_is_leaving(const struct store *store, uint32_t slot) {
    return bitmap_atomic_test(store_chunk(store, slot)->leaving, slot & (STORE_CHUNK - 1));
}

#endif
