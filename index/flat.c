#include "index/flat.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    ROWS_MIN = 1024,       /* first capacity of the list of rows that are not excluded */
    BLOCK_BYTES = 1 << 18, /* of rows: they stay in the second level, for all queries */
    BLOCK_ROWS_MIN = 4,
};

struct scan {
    struct search *search;
    enum flat_rows which;
    struct flat_lane *lanes;
    size_t lanes_count;
    size_t block_rows; /* rows of a full block */
    uint32_t end;      /* no slot from here on is wanted */
    uint32_t next;     /* the first slot that was not looked at, a multiple of the bits of a word */
    uint64_t bits;     /* slots of the word before it that are wanted and not in a block yet */
};

struct flat_lane flat_lane_of(struct search *search, struct top_k *top) {
    return (struct flat_lane){.query = search->query,
                              .code = &search->scratch->query,
                              .rows = &search->scratch->rows,
                              .heap = &search->scratch->pool,
                              .top = top};
}

/* ---- Rows in blocks ---------------------------------------------------------------------------
 */

static uint64_t wanted_bits(const struct scan *scan, uint32_t slot) {
    const struct store_chunk *chunk = store_chunk(scan->search->store, slot);
    const struct slot_filter *filter = scan->search->query->filter;
    uint32_t word = (slot & (STORE_CHUNK - 1)) / BITMAP_WORD_BITS;
    uint64_t present = atomic_load_explicit(&chunk->present[word], memory_order_acquire);
    uint64_t bits = present;
    if (scan->which != FLAT_ALL) {
        uint64_t waiting = atomic_load_explicit(&chunk->waiting[word], memory_order_acquire);
        bits = scan->which == FLAT_WAITING ? waiting : present & ~waiting;
    }
    if (!filter)
        return bits;
    bits &= filter->words[slot / BITMAP_WORD_BITS];
    if (filter->slot_end - slot < BITMAP_WORD_BITS)
        bits &= (UINT64_C(1) << (filter->slot_end - slot)) - 1;
    return bits;
}

/* Goes on to the next word with slots that are wanted; false at the end. */
static bool find_bits(struct scan *scan) {
    const struct store *store = scan->search->store;
    while (scan->bits == 0 && scan->next < scan->end) {
        if (scan->which == FLAT_WAITING && (scan->next & (STORE_CHUNK - 1)) == 0 &&
            atomic_load_explicit(&store_chunk(store, scan->next)->waiting_count,
                                 memory_order_acquire) == 0) {
            scan->next += STORE_CHUNK;
            continue;
        }
        scan->bits = wanted_bits(scan, scan->next);
        scan->next += BITMAP_WORD_BITS;
    }
    return scan->bits != 0;
}

/* Adds the slots from `first` on, which lie in one word and so in one chunk. */
static void add_run(const struct store *store, struct code_block *block, uint32_t first,
                    uint32_t count) {
    const struct code_meta *metas = store_meta(store, first);
    const uint8_t *row = store_code(store, first);
    size_t at = block->count;
    for (uint32_t i = 0; i < count; i++) {
        block->slots[at + i] = first + i;
        block->rows[at + i] = row + i * store->code_bytes;
        block->scales[at + i] = metas[i].scale;
        block->lengths[at + i] = metas[i].length;
    }
    memcpy(block->errors + at, store_error(store, first), count * sizeof(block->errors[0]));
    block->count += count;
}

/* Fills the block with the next rows; false if none is left. */
static bool fill(struct scan *scan) {
    struct code_block *block = &scan->search->scratch->block;
    const struct store *store = scan->search->store;
    block->count = 0;
    while (block->count < scan->block_rows && find_bits(scan)) {
        uint32_t word = scan->next - BITMAP_WORD_BITS;
        if (scan->bits == UINT64_MAX && scan->block_rows - block->count >= BITMAP_WORD_BITS) {
            add_run(store, block, word, BITMAP_WORD_BITS);
            scan->bits = 0;
        } else {
            /* Rows with gaps between them no processor foresees; where there are none, it does
             * better by itself. */
            uint32_t slot = word + bitmap_take_lowest(&scan->bits);
            memory_prefetch(store_code(store, slot), store->code_bytes);
            add_run(store, block, slot, 1);
        }
    }
    return block->count > 0;
}

/* ---- What a query makes of a block ------------------------------------------------------------
 */

/* Written so that a floor that is no number excludes nothing. */
static inline bool is_excluded(float floor, float threshold) {
    return floor > threshold;
}

/* Drops the rows that the threshold excludes by now; makes room if that frees too little. */
static bool make_room(struct flat_lane *lane) {
    struct scratch_hits *rows = lane->rows;
    size_t kept = 0;
    for (size_t i = 0; i < lane->rows_count; i++) {
        if (!is_excluded(rows->items[i].distance, lane->threshold))
            rows->items[kept++] = rows->items[i];
    }
    lane->rows_count = kept;
    if (kept <= rows->capacity / 2 && rows->capacity > 0)
        return true;
    return scratch_reserve_hits(rows, rows->capacity ? rows->capacity * 2 : ROWS_MIN);
}

/* Looks closer at row i, which its floor does not exclude from what is nearest to query `number` of
 * the block. Whether it is visible and passes is asked only now: it matters for few rows. */
static bool take_row(struct search *search, struct flat_lane *lane, size_t number, size_t i) {
    const struct code_block *block = &search->scratch->block;
    uint32_t slot = block->slots[i];
    if (!search_is_visible(search, slot))
        return true;
    float ceiling = codes_ceiling(lane->code, block, number, i);
    /* A row that does not pass must not lower the threshold. */
    if (ceiling < lane->threshold) {
        if (!search_passes(search, slot))
            return true;
        top_k_offer(&lane->ceilings, (struct hit){.slot = slot, .distance = ceiling});
        if (lane->ceilings.count == lane->ceilings.k)
            lane->threshold = lane->ceilings.hits[0].distance;
    }
    if (lane->rows_count == lane->rows->capacity && !make_room(lane))
        return false;
    lane->rows->items[lane->rows_count++] =
        (struct hit){.slot = slot, .distance = block->floors[number * CODES_BATCH_MAX + i]};
    return true;
}

/* Keeps what the threshold does not exclude of a block that was measured as query `number`. */
static bool take_rows(struct search *search, struct flat_lane *lane, size_t number) {
    const struct code_block *block = &search->scratch->block;
    const float *floors = block->floors + number * CODES_BATCH_MAX;
    for (size_t first = 0; first < block->count; first += BITMAP_WORD_BITS) {
        uint64_t near = search->space->kernels->not_above(floors + first, lane->threshold);
        size_t left = block->count - first;
        if (left < BITMAP_WORD_BITS) /* beyond lie floors of other blocks */
            near &= (UINT64_C(1) << left) - 1;
        while (near) {
            size_t i = first + bitmap_take_lowest(&near);
            /* The threshold falls on the way. */
            if (!is_excluded(floors[i], lane->threshold) && !take_row(search, lane, number, i))
                return false;
        }
    }
    lane->scored += block->count;
    search->scored += block->count;
    return true;
}

/* Measures the block for all lanes, as many at a time as the kernels take. */
static bool take_block(struct scan *scan) {
    struct search *search = scan->search;
    size_t together = 1;
    for (size_t first = 0; first < scan->lanes_count; first += together) {
        struct flat_lane *lanes = scan->lanes + first;
        const struct code_query *queries[KERNELS_QUERIES];
        together = scan->lanes_count - first >= KERNELS_QUERIES ? KERNELS_QUERIES : 1;
        for (size_t i = 0; i < together; i++)
            queries[i] = lanes[i].code;
        codes_scan(search->space, queries, together, &search->scratch->block);
        codes_floors(search->space, queries, together, &search->scratch->block);
        for (size_t i = 0; i < together; i++) {
            if (!take_rows(search, &lanes[i], i))
                return false;
        }
    }
    return true;
}

/* ---- The scan ---------------------------------------------------------------------------------
 */

static bool begin_lane(struct flat_lane *lane) {
    size_t wanted = lane->top->k + lane->extra;
    lane->rows_count = lane->top->count = 0;
    lane->threshold = INFINITY;
    if (!scratch_reserve_hits(lane->heap, wanted))
        return false;
    top_k_init(&lane->ceilings, lane->heap->items, wanted);
    return true;
}

/* Measures the rows that are left, and pass. Those whose vector is missing are counted. */
static enum status measure_lane(struct search *search, struct flat_lane *lane, size_t *missing) {
    struct hit *rows = lane->rows->items;
    uint64_t scored = search->scored;
    size_t count = 0;
    search->query = lane->query;
    search->missing = 0;
    for (size_t i = 0; i < lane->rows_count; i++) {
        if (!is_excluded(rows[i].distance, lane->threshold) && search_passes(search, rows[i].slot))
            rows[count++] = rows[i];
    }
    search_measure(search, rows, count, lane->top);
    lane->scored += search->scored - scored;
    *missing = search->missing;
    return search->status;
}

/* One pass over the rows for all lanes. */
static enum status scan_rows(struct search *search, enum flat_rows which, struct flat_lane *lanes,
                             size_t count) {
    const struct slot_filter *filter = search->query->filter;
    size_t block_rows = BLOCK_BYTES / search->space->width;
    uint32_t end = slots_end(search->slots), reserved = store_end(search->store);
    struct scan scan = {.search = search,
                        .which = which,
                        .lanes = lanes,
                        .lanes_count = count,
                        .block_rows = block_rows > CODES_BATCH_MAX  ? CODES_BATCH_MAX
                                      : block_rows < BLOCK_ROWS_MIN ? BLOCK_ROWS_MIN
                                                                    : block_rows,
                        .end = end < reserved ? end : reserved};
    if (filter && filter->slot_end < scan.end)
        scan.end = filter->slot_end;
    for (size_t i = 0; i < count; i++) {
        if (!begin_lane(&lanes[i]))
            return STATUS_NO_MEMORY;
    }
    while (fill(&scan)) {
        if (!take_block(&scan))
            return STATUS_NO_MEMORY;
        if (search_is_over(search))
            return search->status;
    }
    return STATUS_OK;
}

/* Measures what the pass left; where vectors were missing for which no spare rows were kept, after
 * passes of its own that keep more. */
static enum status finish_lane(struct search *search, enum flat_rows which,
                               struct flat_lane *lane) {
    size_t missing;
    enum status status = measure_lane(search, lane, &missing);
    while (status == STATUS_OK && missing > lane->extra) {
        lane->extra = missing;
        status = scan_rows(search, which, lane, 1);
        if (status == STATUS_OK)
            status = measure_lane(search, lane, &missing);
    }
    return status;
}

enum status flat_scan(struct search *search, enum flat_rows which, struct flat_lane *lanes,
                      size_t count) {
    if (which == FLAT_WAITING &&
        atomic_load_explicit(&search->store->waiting_count, memory_order_acquire) == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        assert(lanes[i].top->count == 0);
        codes_query_bound(search->space, lanes[i].code);
    }
    enum status status = scan_rows(search, which, lanes, count);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = finish_lane(search, which, &lanes[i]);
    return status;
}
