#include "index/flat.h"

#include <assert.h>
#include <math.h>

enum {
    ROWS_MIN = 1024 /* first capacity of the list of rows that are not excluded */
};

struct scan {
    struct search *search;
    struct top_k uppers; /* the k smallest upper bounds */
    size_t rows_count;   /* rows that were not excluded when they were met: slot, lower bound */
    float threshold;     /* no row whose lower bound lies above can be among the k */
    float errors[CODES_BATCH_MAX]; /* of the rows of the batch */
};

/* Drops the rows that the threshold excludes by now; makes room if that frees too little. */
static bool make_room(struct scan *scan) {
    struct scratch_hits *rows = &scan->search->scratch->rows;
    size_t kept = 0;
    for (size_t i = 0; i < scan->rows_count; i++) {
        if (rows->items[i].distance <= scan->threshold)
            rows->items[kept++] = rows->items[i];
    }
    scan->rows_count = kept;
    if (kept <= rows->capacity / 2 && rows->capacity > 0)
        return true;
    return scratch_reserve_hits(rows, rows->capacity ? rows->capacity * 2 : ROWS_MIN);
}

/* Looks closer at a row that its floor does not exclude. Whether it is visible and passes is asked
 * only now: it matters for few rows. */
static bool take_row(struct scan *scan, const struct code_batch *batch, size_t i) {
    struct search *search = scan->search;
    struct scratch_hits *rows = &search->scratch->rows;
    uint32_t slot = batch->slots[i];
    struct code_bounds bounds =
        codes_bounds(search->space, &search->scratch->query, batch->distances[i],
                     *store_meta(search->store, slot), *store_error(search->store, slot));
    if (bounds.lower > scan->threshold || !search_is_visible(search, slot))
        return true;
    /* A row that does not pass must not lower the threshold. */
    if (bounds.upper < scan->threshold) {
        if (!search_passes(search, slot))
            return true;
        top_k_offer(&scan->uppers, (struct hit){.slot = slot, .distance = bounds.upper});
        if (scan->uppers.count == scan->uppers.k)
            scan->threshold = scan->uppers.hits[0].distance;
    }
    if (scan->rows_count == rows->capacity && !make_room(scan))
        return false;
    rows->items[scan->rows_count++] = (struct hit){.slot = slot, .distance = bounds.lower};
    return true;
}

/* Measures the batch and keeps what the threshold does not exclude. */
static bool take_batch(struct scan *scan, struct code_batch *batch) {
    struct search *search = scan->search;
    float floors[CODES_BATCH_MAX];
    codes_distances(search->space, &search->scratch->query, batch);
    codes_floors(search->space, &search->scratch->query, batch, scan->errors, floors);
    search->scored += batch->count;
    for (size_t i = 0; i < batch->count; i++) {
        /* Written so that a floor that is no number excludes nothing. */
        if (!(floors[i] > scan->threshold) && !take_row(scan, batch, i))
            return false;
    }
    batch->count = 0;
    return true;
}

static uint64_t wanted_bits(const struct search *search, enum flat_rows which, uint32_t slot) {
    const struct store_chunk *chunk = store_chunk(search->store, slot);
    const struct slot_filter *filter = search->query->filter;
    uint32_t word = (slot & (STORE_CHUNK - 1)) / BITMAP_WORD_BITS;
    uint64_t bits =
        atomic_load_explicit(which == FLAT_WAITING ? &chunk->waiting[word] : &chunk->present[word],
                             memory_order_acquire);
    if (bits == 0 || !filter)
        return bits;
    if (slot >= filter->slot_end)
        return 0;
    bits &= filter->words[slot / BITMAP_WORD_BITS];
    if (filter->slot_end - slot < BITMAP_WORD_BITS)
        bits &= (UINT64_C(1) << (filter->slot_end - slot)) - 1;
    return bits;
}

static enum status scan_rows(struct scan *scan, enum flat_rows which) {
    struct search *search = scan->search;
    struct code_batch *batch = &search->scratch->batch;
    uint32_t end = store_end(search->store);
    batch->count = 0;
    for (uint32_t slot = 0; slot < end; slot += BITMAP_WORD_BITS) {
        if (which == FLAT_WAITING && (slot & (STORE_CHUNK - 1)) == 0 &&
            atomic_load_explicit(&store_chunk(search->store, slot)->waiting_count,
                                 memory_order_acquire) == 0) {
            slot += STORE_CHUNK - BITMAP_WORD_BITS;
            continue;
        }
        uint64_t bits = wanted_bits(search, which, slot);
        while (bits) {
            uint32_t row = slot + bitmap_take_lowest(&bits);
            scan->errors[batch->count] = *store_error(search->store, row);
            search_batch_add(search->store, batch, row);
        }
        if (batch->count > CODES_BATCH_MAX - BITMAP_WORD_BITS) {
            if (!take_batch(scan, batch))
                return STATUS_NO_MEMORY;
            if (search_is_over(search))
                return search->status;
        }
    }
    return take_batch(scan, batch) ? STATUS_OK : STATUS_NO_MEMORY;
}

/* One pass that looks for `extra` more than k rows. */
static enum status scan_once(struct search *search, enum flat_rows which, size_t extra,
                             struct top_k *top) {
    struct scan scan;
    scan.search = search;
    scan.rows_count = 0;
    scan.threshold = INFINITY;
    if (!scratch_reserve_hits(&search->scratch->pool, top->k + extra))
        return STATUS_NO_MEMORY;
    top_k_init(&scan.uppers, search->scratch->pool.items, top->k + extra);
    enum status status = scan_rows(&scan, which);
    if (status != STATUS_OK)
        return status;
    /* Those that are left, and pass. */
    struct hit *rows = search->scratch->rows.items;
    size_t count = 0;
    for (size_t i = 0; i < scan.rows_count; i++) {
        if (rows[i].distance <= scan.threshold && search_passes(search, rows[i].slot))
            rows[count++] = rows[i];
    }
    search_measure(search, rows, count, top);
    return search->status;
}

enum status flat_scan(struct search *search, enum flat_rows which, struct top_k *top) {
    assert(top->count == 0);
    if (which == FLAT_WAITING &&
        atomic_load_explicit(&search->store->waiting_count, memory_order_acquire) == 0)
        return STATUS_OK;
    codes_query_bound(search->space, &search->scratch->query);
    enum status status = STATUS_OK;
    size_t extra = 0;
    bool is_short = true;
    while (is_short && status == STATUS_OK) {
        top->count = search->missing = 0;
        status = scan_once(search, which, extra, top);
        is_short = search->missing > extra;
        extra = search->missing;
    }
    return status;
}
