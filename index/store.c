#include "index/store.h"

#include "index/memory.h"

#include <assert.h>
#include <string.h>

enum {
    LINE = 64,   /* bytes of a cache line */
    BITMAPS = 7, /* of a chunk */
};

/* Bytes of the bitmaps, and of all that a slot has beside its code and links. */
static const size_t small_bytes =
    STORE_CHUNK * (sizeof(struct code_meta) + sizeof(struct store_node) + sizeof(float)) +
    BITMAPS * STORE_CHUNK_WORDS * sizeof(uint64_t);

static size_t whole_lines(size_t bytes) {
    return (bytes + LINE - 1) / LINE * LINE;
}

bool store_init(struct store *store, const struct store_layout *layout) {
    assert(layout->code_bytes % LINE == 0 && layout->edge_block_bytes % LINE == 0);
    uint32_t blocks = (layout->link_count + STORE_BLOCK_PLACES - 1) / STORE_BLOCK_PLACES;
    *store = (struct store){.code_bytes = layout->code_bytes,
                            .link_count = layout->link_count,
                            .link_room = layout->link_count};
    if (layout->edge_block_bytes > 0) {
        assert(blocks <= STORE_EDGE_BLOCKS_MAX);
        store->link_room = blocks * STORE_BLOCK_PLACES;
        store->edge_blocks = blocks;
        store->edge_block_bytes = layout->edge_block_bytes;
        store->links_at = whole_lines(sizeof(struct store_head) + blocks * STORE_BLOCK_PLACES);
    }
    store->edges_at = store->links_at + whole_lines(store->link_room * sizeof(uint32_t));
    store->record_bytes = store->edges_at + store->edge_blocks * store->edge_block_bytes;
    store->chunk_bytes = STORE_CHUNK * (store->code_bytes + store->record_bytes) + small_bytes;
    store->chunks = memory_map(STORE_CHUNKS_MAX * sizeof(store->chunks[0]));
    return store->chunks && pthread_mutex_init(&store->records_lock, NULL) == 0;
}

/* Bytes of a chunk's short records. */
static size_t short_bytes(const struct store *store) {
    return STORE_CHUNK * store->edges_at;
}

void store_free(struct store *store) {
    for (uint32_t i = 0; i < store->chunks_count; i++) {
        memory_unmap(store->chunks[i].short_records, short_bytes(store));
        memory_unmap(store->chunks[i].codes, store->chunk_bytes);
    }
    if (store->chunks)
        pthread_mutex_destroy(&store->records_lock);
    memory_unmap(store->chunks, STORE_CHUNKS_MAX * sizeof(store->chunks[0]));
    *store = (struct store){0};
}

static bool add_chunk(struct store *store) {
    struct store_chunk *chunk = &store->chunks[store->chunks_count];
    uint8_t *at = memory_map(store->chunk_bytes);
    if (!at)
        return false;
    /* Codes and records first: their sizes are multiples of a huge page. */
    chunk->codes = at;
    at += STORE_CHUNK * store->code_bytes;
    chunk->whole_records = at;
    atomic_store_explicit(&chunk->records, (uintptr_t)at, memory_order_relaxed);
    at += STORE_CHUNK * store->record_bytes;
    chunk->metas = (struct code_meta *)(void *)at;
    at += STORE_CHUNK * sizeof(struct code_meta);
    chunk->nodes = (struct store_node *)(void *)at;
    at += STORE_CHUNK * sizeof(struct store_node);
    chunk->errors = (float *)(void *)at;
    at += STORE_CHUNK * sizeof(float);
    _Atomic uint64_t **bitmaps[BITMAPS] = {&chunk->present, &chunk->waiting, &chunk->claimed,
                                           &chunk->leaving, &chunk->leading, &chunk->changed,
                                           &chunk->recoded};
    for (size_t i = 0; i < BITMAPS; i++, at += STORE_CHUNK_WORDS * sizeof(uint64_t))
        *bitmaps[i] = (_Atomic uint64_t *)(void *)at;
    store->chunks_count++;
    atomic_store_explicit(&store->end, store->chunks_count * (uint32_t)STORE_CHUNK,
                          memory_order_release);
    return true;
}

bool store_reserve(struct store *store, uint32_t slot_end) {
    assert(slot_end <= SLOT_MAX);
    while ((uint64_t)store->chunks_count * STORE_CHUNK < slot_end) {
        if (!add_chunk(store))
            return false;
    }
    return true;
}

/* A first huge page is filled with small ones, so that a small index stays small; from there on
 * each further one is asked for when the first row reaches into it. */
static void extend_huge(uint8_t *memory, size_t used, size_t *huge) {
    if (used <= *huge || used <= MEMORY_HUGE_PAGE)
        return;
    size_t end = (used + MEMORY_HUGE_PAGE - 1) / MEMORY_HUGE_PAGE * MEMORY_HUGE_PAGE;
    memory_use_huge_pages(memory + *huge, end - *huge);
    *huge = end;
}

void store_prepare(struct store *store, uint32_t slot) {
    struct store_chunk *chunk = store_chunk(store, slot);
    size_t rows = (slot & (STORE_CHUNK - 1)) + 1;
    extend_huge(chunk->codes, rows * store->code_bytes, &chunk->huge[STORE_CODES]);
    extend_huge(chunk->whole_records, rows * store->record_bytes, &chunk->huge[STORE_RECORDS]);
}

static void expect_huge(uint8_t *memory, size_t used, size_t *huge) {
    size_t end = (used + MEMORY_HUGE_PAGE - 1) / MEMORY_HUGE_PAGE * MEMORY_HUGE_PAGE;
    if (used <= MEMORY_HUGE_PAGE || end <= *huge)
        return;
    memory_expect(memory, end);
    *huge = end;
}

void store_expect(struct store *store, uint32_t chunk_number, uint32_t rows) {
    struct store_chunk *chunk = &store->chunks[chunk_number];
    expect_huge(chunk->codes, rows * store->code_bytes, &chunk->huge[STORE_CODES]);
    expect_huge(chunk->whole_records, rows * store->record_bytes, &chunk->huge[STORE_RECORDS]);
}

/* ---- Short records ----------------------------------------------------------------------------
 */

void store_shorten(struct store *store, uint32_t chunk_number, uint32_t rows) {
    struct store_chunk *chunk = &store->chunks[chunk_number];
    uint8_t *records = memory_map(short_bytes(store));
    if (!records)
        return;
    size_t huge = 0;
    expect_huge(records, rows * store->edges_at, &huge);
    store->has_short = true;
    chunk->short_records = records;
    atomic_store(&chunk->records, (uintptr_t)records | STORE_SHORT);
}

/* A record is whole cache lines. */
static bool is_clear(const uint8_t *record, size_t bytes) {
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes; i += sizeof(bits)) {
        uint64_t word;
        memcpy(&word, record + i, sizeof(word));
        bits |= word;
    }
    return bits == 0;
}

void store_lengthen(struct store *store, uint32_t chunk_number) {
    struct store_chunk *chunk = &store->chunks[chunk_number];
    if (!(atomic_load(&chunk->records) & STORE_SHORT))
        return;
    pthread_mutex_lock(&store->records_lock);
    for (size_t i = 0; i < STORE_CHUNK; i++) {
        const uint8_t *record = chunk->short_records + i * store->edges_at;
        /* A slot that was never used must not take memory. */
        if (!is_clear(record, store->edges_at))
            memcpy(chunk->whole_records + i * store->record_bytes, record, store->edges_at);
    }
    atomic_store(&chunk->records, (uintptr_t)chunk->whole_records);
    pthread_mutex_unlock(&store->records_lock);
}

void store_free_short(struct store *store) {
    for (uint32_t i = 0; i < store_end(store) / STORE_CHUNK; i++) {
        struct store_chunk *chunk = &store->chunks[i];
        assert(!(atomic_load(&chunk->records) & STORE_SHORT));
        memory_unmap(chunk->short_records, short_bytes(store));
        chunk->short_records = NULL;
    }
    store->has_short = false;
}

void store_restore(struct store *store, uint32_t slot, uint8_t level) {
    struct store_node *node = store_node(store, slot);
    atomic_store_explicit(&node->kind, STORE_LINKED, memory_order_relaxed);
    atomic_store_explicit(&node->level, level, memory_order_relaxed);
    atomic_store_explicit(&node->twin, SLOT_NONE, memory_order_relaxed);
    bitmap_atomic_set(store_chunk(store, slot)->present, slot & (STORE_CHUNK - 1));
    atomic_fetch_add_explicit(&store->present_count, 1, memory_order_relaxed);
}

void store_forget_changes(struct store *store, uint32_t slot_end) {
    for (uint32_t i = 0; i < slot_end / STORE_CHUNK; i++) {
        for (size_t word = 0; word < STORE_CHUNK_WORDS; word++) {
            atomic_exchange(&store->chunks[i].recoded[word], 0);
            atomic_exchange(&store->chunks[i].changed[word], 0);
        }
    }
}

struct store_changes store_count_changes(const struct store *store) {
    struct store_changes changes = {0};
    uint32_t chunks = store_end(store) / STORE_CHUNK;
    for (uint32_t i = 0; i < chunks; i++) {
        for (size_t word = 0; word < STORE_CHUNK_WORDS; word++) {
            changes.changed +=
                (uint64_t)__builtin_popcountll(atomic_load(&store->chunks[i].changed[word]));
            changes.recoded +=
                (uint64_t)__builtin_popcountll(atomic_load(&store->chunks[i].recoded[word]));
        }
    }
    return changes;
}

uint64_t store_memory_bytes(const struct store *store) {
    uint64_t slot_bytes = store->chunk_bytes / STORE_CHUNK;
    return atomic_load_explicit(&store->present_count, memory_order_relaxed) * slot_bytes;
}

static void mark_recoded(struct store_chunk *chunk, uint32_t bit) {
    bitmap_atomic_set(chunk->changed, bit);
    bitmap_atomic_set(chunk->recoded, bit);
}

/* An empty list, and the head of the new vector. */
static void clear_record(struct store *store, uint32_t slot) {
    pthread_mutex_lock(&store->records_lock);
    _Atomic uint32_t *links = store_links(store, slot);
    for (uint32_t i = 0; i < store->link_room; i++)
        atomic_store_explicit(&links[i], SLOT_NONE, memory_order_relaxed);
    if (store->edge_blocks > 0) {
        store_head(store, slot)->meta = *store_meta(store, slot);
        for (uint32_t i = 0; i < store->edge_blocks; i++) {
            atomic_store_explicit(&store_head(store, slot)->stale[i], 0, memory_order_relaxed);
            store_set_power(store, slot, i, 0);
        }
    }
    pthread_mutex_unlock(&store->records_lock);
}

void store_put(struct store *store, uint32_t slot, uint8_t level) {
    struct store_chunk *chunk = store_chunk(store, slot);
    struct store_node *node = store_node(store, slot);
    uint32_t bit = slot & (STORE_CHUNK - 1);
    assert(!bitmap_atomic_test(chunk->present, bit));
    clear_record(store, slot);
    atomic_store_explicit(&node->kind, STORE_UNLINKED, memory_order_relaxed);
    atomic_store_explicit(&node->level, level, memory_order_relaxed);
    atomic_store_explicit(&node->twin, SLOT_NONE, memory_order_relaxed);
    bitmap_atomic_clear(chunk->leaving, bit);
    bitmap_atomic_clear(chunk->leading, bit);
    /* Waiting before present: a scan that finds the slot present finds it one way or the other. */
    atomic_fetch_add_explicit(&chunk->waiting_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->waiting_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->present_count, 1, memory_order_relaxed);
    bitmap_atomic_set(chunk->waiting, bit);
    /* Before present, so that a delta which finds the slot present finds it recoded, too; and
     * after, since a whole image may begin in between, forget the marks and not find it. */
    mark_recoded(chunk, bit);
    bitmap_atomic_set(chunk->present, bit);
    mark_recoded(chunk, bit);
}

static void stop_waiting(struct store *store, uint32_t slot) {
    struct store_chunk *chunk = store_chunk(store, slot);
    if (bitmap_atomic_clear(chunk->waiting, slot & (STORE_CHUNK - 1))) {
        atomic_fetch_sub_explicit(&chunk->waiting_count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&store->waiting_count, 1, memory_order_relaxed);
    }
}

void store_wait_again(struct store *store, uint32_t slot) {
    struct store_chunk *chunk = store_chunk(store, slot);
    atomic_fetch_add_explicit(&chunk->waiting_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->waiting_count, 1, memory_order_relaxed);
    bool was_waiting = bitmap_atomic_set(chunk->waiting, slot & (STORE_CHUNK - 1));
    assert(!was_waiting);
    store_mark_changed(store, slot);
}

void store_remove(struct store *store, uint32_t slot) {
    struct store_chunk *chunk = store_chunk(store, slot);
    stop_waiting(store, slot);
    if (bitmap_atomic_clear(chunk->present, slot & (STORE_CHUNK - 1)))
        atomic_fetch_sub_explicit(&store->present_count, 1, memory_order_relaxed);
    store_mark_changed(store, slot);
}

/* The slots of a word that wait unclaimed. Claims first: a claim that ends between the two loads
 * must not leave its slot looking as if it still waited, or it would be linked twice. */
static uint64_t waiting_in(const struct store_chunk *chunk, uint32_t word) {
    uint64_t claimed = atomic_load_explicit(&chunk->claimed[word], memory_order_acquire);
    return atomic_load_explicit(&chunk->waiting[word], memory_order_acquire) & ~claimed;
}

bool store_find_waiting(const struct store *store, uint32_t *slot) {
    uint32_t end = store_end(store);
    for (uint32_t at = *slot; at < end;) {
        struct store_chunk *chunk = store_chunk(store, at);
        uint32_t in_chunk = at & (STORE_CHUNK - 1), word = in_chunk / BITMAP_WORD_BITS;
        if (in_chunk == 0 &&
            atomic_load_explicit(&chunk->waiting_count, memory_order_acquire) == 0) {
            at += STORE_CHUNK;
            continue;
        }
        uint64_t bits = waiting_in(chunk, word) & UINT64_MAX << (at % BITMAP_WORD_BITS);
        uint32_t word_start = at - at % BITMAP_WORD_BITS;
        if (bits == 0) {
            at = word_start + BITMAP_WORD_BITS;
            continue;
        }
        *slot = word_start + bitmap_take_lowest(&bits);
        return true;
    }
    return false;
}

bool store_claim_slot(struct store *store, uint32_t slot) {
    struct store_chunk *chunk = store_chunk(store, slot);
    uint32_t in_chunk = slot & (STORE_CHUNK - 1);
    if (!(waiting_in(chunk, in_chunk / BITMAP_WORD_BITS) >> in_chunk % BITMAP_WORD_BITS & 1))
        return false;
    bitmap_atomic_set(chunk->claimed, in_chunk);
    return true;
}

bool store_claim(struct store *store, uint32_t *cursor, uint32_t *slot) {
    *slot = *cursor;
    if (!store_find_waiting(store, slot))
        return false;
    *cursor = *slot;
    return store_claim_slot(store, *slot);
}

void store_unclaim(struct store *store, uint32_t slot, bool is_linked) {
    if (is_linked) {
        stop_waiting(store, slot);
        store_mark_changed(store, slot);
    }
    bitmap_atomic_clear(store_chunk(store, slot)->claimed, slot & (STORE_CHUNK - 1));
}
