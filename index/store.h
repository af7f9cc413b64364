/* store.h -- what an index keeps for each slot: code, links and a few numbers.
 *
 * Chunks of STORE_CHUNK slots that never move, so that readers need no lock. A chunk is one map of
 * arrays, of which only the pages in use take memory; huge pages are asked for once an array has
 * filled its first one.
 *
 * After a start the records of a chunk are short as long as its edges lie in a file: heads and
 * links alone, in a map of their own. A system clears memory before it gives it, and to clear the
 * place of all edges would take longer than to read the rest.
 *
 * Threads: the writer reserves and puts; builders change links, nodes, twins, uppers; anyone reads.
 * What is not atomic is written before the slot is marked as present, and not again until no search
 * can meet the slot any more; but for edges and their slopes, which are guarded by what is stale.
 */
#ifndef STORE_H
#define STORE_H

#include "index/bitmap.h"
#include "index/codes.h"
#include "index/slots.h"

#include <pthread.h>

enum {
    STORE_CHUNK_BITS = 15,
    STORE_CHUNK = 1 << STORE_CHUNK_BITS,
    STORE_CHUNK_WORDS = STORE_CHUNK / BITMAP_WORD_BITS,
    STORE_CHUNKS_MAX = 1 << 15, /* 2^30 slots */
    STORE_BLOCK_PLACES = 32,    /* of a list, whose edges make a block */
    STORE_EDGE_BLOCKS_MAX = 4,
    STORE_SHORT = 1, /* a flag beside the address of records */
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

/* The arrays of a chunk that walks read. */
enum store_array {
    STORE_CODES,
    STORE_RECORDS,
    STORE_ARRAYS,
};

/* What a walk by edges (edges.h) reads first of a node. The slopes of edges lie here, though they
 * belong to blocks, since what fills up the line would be empty. */
struct store_head {
    _Atomic uint32_t stale[STORE_EDGE_BLOCKS_MAX]; /* bit per place whose edge is not written */
    struct code_meta meta;
    atomic_uchar powers[STORE_EDGE_BLOCKS_MAX];
    uint8_t slopes[]; /* STORE_BLOCK_PLACES a block */
};

struct store_chunk {
    uint8_t *codes;            /* STORE_CHUNK rows of code_bytes; start of the map */
    _Atomic uintptr_t records; /* STORE_CHUNK of record_bytes: what a walk reads of a node; with
                                  STORE_SHORT of edges_at bytes */
    struct code_meta *metas;
    struct store_node *nodes;
    float *errors;             /* see codes_encode */
    _Atomic uint64_t *present; /* bit per slot: it has a vector */
    _Atomic uint64_t *waiting; /* ... that is not linked yet, so that searches scan it */
    _Atomic uint64_t *claimed; /* ... that a builder is linking */
    _Atomic uint64_t *leaving; /* ... that is being unlinked: no new links to it */
    _Atomic uint64_t *leading; /* ... that has twins */
    _Atomic uint64_t *changed; /* ... whose lists, level or kind the image (image.h) lacks */
    _Atomic uint64_t *recoded; /* ... of these: whose code it lacks */
    _Atomic uint32_t waiting_count;
    _Atomic uint32_t unread;   /* all ones while the chunk's edges still lie in a file, else 0 */
    uint8_t *whole_records;    /* where records are, or will be once they are whole */
    uint8_t *short_records;    /* owned; NULL: none, or none any more */
    size_t huge[STORE_ARRAYS]; /* bytes in huge pages so far; writer only */
};

struct store {
    struct store_chunk *chunks; /* STORE_CHUNKS_MAX, zero until reserved */
    size_t code_bytes;          /* a multiple of 64 */
    uint32_t link_count;        /* places of a level-0 list */
    uint32_t link_room;         /* the same, up to the end of the last block of edges */
    /* A record: head and blocks of edges (where the profile keeps edges), and between them the
     * links. Each begins a cache line. */
    uint32_t edge_blocks; /* 0: no head, no edges */
    size_t edge_block_bytes, links_at, edges_at, record_bytes;
    size_t chunk_bytes;
    uint32_t chunks_count;          /* writer only */
    _Atomic uint32_t end;           /* reserved slots, in whole chunks */
    _Atomic uint64_t present_count; /* slots that have a vector */
    _Atomic uint64_t waiting_count;
    atomic_bool has_stale;        /* edges were left stale since builders last looked for such */
    atomic_bool is_unread;        /* edges of some chunk still lie in a file: nobody writes any */
    bool has_short;               /* short records are there, in use or not; whoever reads edges */
    pthread_mutex_t records_lock; /* a slot's record is being cleared, or a chunk's moved */
};

/* What a slot takes. */
struct store_layout {
    size_t code_bytes;       /* a multiple of 64 */
    uint32_t link_count;     /* places of a level-0 list */
    size_t edge_block_bytes; /* for each STORE_BLOCK_PLACES; a multiple of 64, or 0 */
};

/* False when memory ends. _free accepts a zeroed store. */
bool store_init(struct store *store, const struct store_layout *layout);
void store_free(struct store *store);
bool store_reserve(struct store *store, uint32_t slot_end);

/* Bytes that the slots in use take. */
uint64_t store_memory_bytes(const struct store *store);

/* Marks a slot of a fresh chunk as present and linked up to `level`. Its row and its upper links
 * are the caller's to fill before the first search. */
void store_restore(struct store *store, uint32_t slot, uint8_t level);

/* Asks for huge pages for the first rows of a chunk, which are going to be filled. Writer. */
void store_expect(struct store *store, uint32_t chunk, uint32_t rows);

/* The records of a fresh chunk are short, where memory allows: `rows` of them will be filled. */
void store_shorten(struct store *store, uint32_t chunk, uint32_t rows);
/* Edges of a chunk are in place (store_whole_edges): its records are whole from here on. While
 * nobody links or repairs; searches may go on looking at the short ones. */
void store_lengthen(struct store *store, uint32_t chunk);
/* Gives back all short records. When all chunks were lengthened, and nobody looks at them. */
void store_free_short(struct store *store);

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
/* Claims that slot; false if it does not wait, or is claimed. */
bool store_claim_slot(struct store *store, uint32_t slot);
/* The first slot from *slot on that waits unclaimed; false if there is none. */
bool store_find_waiting(const struct store *store, uint32_t *slot);
/* Ends a claim: the slot is linked, or goes on waiting. */
void store_unclaim(struct store *store, uint32_t slot, bool is_linked);

/* From here on an image has all: nothing below slot_end (whole chunks) counts as changed. While no
 * builder is under way; a slot that is put meanwhile is marked afterwards, or seen by whoever asks
 * next which slots are present. */
void store_forget_changes(struct store *store, uint32_t slot_end);
/* How many slots are marked as changed, and how many of them as recoded; a moment's figures. */
struct store_changes {
    uint64_t changed, recoded;
};
struct store_changes store_count_changes(const struct store *store);

static inline uint32_t store_end(const struct store *store) {
    return atomic_load_explicit(&store->end, memory_order_acquire);
}

static inline struct store_chunk *store_chunk(const struct store *store, uint32_t slot) {
    return &store->chunks[slot >> STORE_CHUNK_BITS];
}

static inline uint8_t *store_code(const struct store *store, uint32_t slot) {
    return store_chunk(store, slot)->codes + (slot & (STORE_CHUNK - 1)) * store->code_bytes;
}

static inline uint8_t *store_record(const struct store *store, uint32_t slot) {
    uintptr_t records =
        atomic_load_explicit(&store_chunk(store, slot)->records, memory_order_acquire);
    size_t bytes = records & STORE_SHORT ? store->edges_at : store->record_bytes;
    return (uint8_t *)(records & ~(uintptr_t)STORE_SHORT) + (slot & (STORE_CHUNK - 1)) * bytes;
}

static inline _Atomic uint32_t *store_links(const struct store *store, uint32_t slot) {
    return (_Atomic uint32_t *)(void *)(store_record(store, slot) + store->links_at);
}

/* The edges of a slot whose records may be short still. */
static inline uint8_t *store_whole_edges(const struct store *store, uint32_t slot) {
    return store_chunk(store, slot)->whole_records +
           (slot & (STORE_CHUNK - 1)) * store->record_bytes + store->edges_at;
}

/* Only where the profile keeps edges. To be read only if some are not stale, and looked up after
 * that was asked: of a short record it leads nowhere. */
static inline uint8_t *store_edges(const struct store *store, uint32_t slot, uint32_t block) {
    return store_record(store, slot) + store->edges_at + block * store->edge_block_bytes;
}

static inline struct store_head *store_head(const struct store *store, uint32_t slot) {
    return (struct store_head *)(void *)store_record(store, slot);
}

static inline uint8_t *store_slopes(const struct store *store, uint32_t slot, uint32_t block) {
    return store_head(store, slot)->slopes + block * STORE_BLOCK_PLACES;
}

static inline uint8_t store_power(const struct store *store, uint32_t slot, uint32_t block) {
    return atomic_load_explicit(&store_head(store, slot)->powers[block], memory_order_relaxed);
}

static inline void store_set_power(const struct store *store, uint32_t slot, uint32_t block,
                                   uint8_t power) {
    atomic_store_explicit(&store_head(store, slot)->powers[block], power, memory_order_relaxed);
}

/* Bit per place of a block whose edge is not to be used: the link changed, or the edge is not there
 * yet. Only where the profile keeps edges. */
static inline uint32_t store_stale(const struct store *store, uint32_t slot, uint32_t block) {
    return atomic_load_explicit(&store_head(store, slot)->stale[block], memory_order_acquire) |
           atomic_load_explicit(&store_chunk(store, slot)->unread, memory_order_acquire);
}

/* A list of the slot changed. Whoever is under way as builder, or repairs; after the change or
 * before. Most are marked already, so that looking spares a write that other cores would feel. */
static inline void store_mark_changed(const struct store *store, uint32_t slot) {
    _Atomic uint64_t *changed = store_chunk(store, slot)->changed;
    if (!bitmap_atomic_test(changed, slot & (STORE_CHUNK - 1)))
        bitmap_atomic_set(changed, slot & (STORE_CHUNK - 1));
}

/* Puts another link into a place of a level-0 list. Whoever holds the slot's lock. */
static inline void store_set_link(struct store *store, uint32_t slot, uint32_t place,
                                  uint32_t link) {
    if (store->edge_blocks > 0) /* before the link is seen */
        atomic_fetch_or_explicit(&store_head(store, slot)->stale[place / STORE_BLOCK_PLACES],
                                 UINT32_C(1) << place % STORE_BLOCK_PLACES, memory_order_relaxed);
    atomic_store_explicit(&store_links(store, slot)[place], link, memory_order_release);
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

static inline bool store_is_linked(const struct store *store, uint32_t slot) {
    return store_is_present(store, slot) && store_kind(store, slot) == STORE_LINKED;
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
