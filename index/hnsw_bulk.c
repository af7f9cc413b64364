#include "index/hnsw_bulk.h"

#include "index/hits.h"
#include "index/hnsw.h"
#include "index/memory.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAPH_MIN = 1024,    /* slots: smaller graphs are walked */
    BATCH_MIN = 128,     /* slots */
    BATCH_MAX = 1 << 17, /* bounds the memory of a batch */
    GRAPH_BATCHES = 16,  /* the graph is so many times as large as a batch that enters it: with 4 or
                            8, more of what is near is not linked yet, and recall suffers */
    FIRST_SHARE = 8,     /* cells are made for a share 1 / so many of the graph that waits ... */
    LAST_SHARE = 64,     /* ... and used on while such a share does */
    ROOT_CELLS = 4,      /* cells, in square roots of the number of slots, ... */
    CELL_SLOTS = 128,    /* ... or, where these are more, a cell for so many slots */
    CELLS_LOOKED_AT = 48, /* cells for each slot, ... */
    CANDIDATES = 200,     /* ... where so many candidates are wanted, and more for more */
    CELLS_WANTED_MAX = CELLS_LOOKED_AT * HNSW_CANDIDATES_MAX / CANDIDATES,
    SAMPLE_SHARE = 8,       /* slots a cell that centres are trained on, */
    ROUNDS = 2,             /* so many times */
    GROWTH_MAX = 2,         /* times what they were made for, until cells are made anew, ... */
    GROWTH_LAST = 4,        /* ... or done without, where that is not worth it any more */
    AGED_SHARE = 4,         /* cells are old once a share 1 / so many was unlinked */
    PIECE = CELLS_TOGETHER, /* slots; a tenth of a millisecond, or one where edges are written */
    PIECES = 8, /* of which a builder does so many before it links a slot by a walk: with one, a
                   tenth of a load was walked for, which costs ten times as much */
    /* While a share 1 / so many of the graph waits edges are not worth writing: most lists are
     * going to change soon. */
    SOON_SHARE = 2,
};

static const float lengths_apart_max = 1.25F; /* of vectors whose dot products are as distances */

/* Under the lock of claims, or by whoever alone touches it. No group is taken. */
static void drop(struct hnsw_bulk *bulk) {
    for (size_t i = 0; i < HNSW_GROUPS_MAX; i++) {
        hnsw_group_free(bulk->groups[i]);
        bulk->groups[i] = NULL;
    }
    cells_free(&bulk->cells);
    memory_unmap(bulk->slots, bulk->map_bytes);
    free(bulk->turns);
    bulk->slots = bulk->turns = NULL;
    bulk->found = NULL;
    bulk->phase = HNSW_BULK_IDLE;
    bulk->slots_count = bulk->taken = bulk->done = bulk->turns_next = 0;
}

void hnsw_bulk_free(struct hnsw_bulk *bulk) {
    drop(bulk);
}

/* ---- What phases go through -------------------------------------------------------------------
 */

static bool reserve(struct hnsw_bulk *bulk, size_t slots, size_t wanted) {
    memory_unmap(bulk->slots, bulk->map_bytes);
    bulk->map_bytes = slots * (sizeof(*bulk->slots) + wanted * sizeof(*bulk->found)) + 1;
    bulk->slots = memory_map(bulk->map_bytes);
    bulk->found = bulk->slots ? (uint16_t *)(bulk->slots + slots) : NULL;
    bulk->slots_count = bulk->taken = bulk->done = 0;
    bulk->wanted = wanted;
    return bulk->slots;
}

/* Linked slots; more may be linked meanwhile, and are left for next time. False when memory ends,
 * or there are none any more. */
static bool take_linked(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    const struct store *store = hnsw->store;
    size_t max = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    if (!reserve(bulk, max, 1))
        return false;
    for (uint32_t slot = 0; slot < store_end(store) && bulk->slots_count < max; slot++) {
        if (store_is_linked(store, slot))
            bulk->slots[bulk->slots_count++] = slot;
    }
    return bulk->slots_count > 0;
}

/* Thins what take_linked found out to a sample, evenly. */
static void thin_out(struct hnsw_bulk *bulk, size_t max) {
    size_t count = bulk->slots_count < max ? bulk->slots_count : max;
    for (size_t i = 0; i < count; i++)
        bulk->slots[i] = bulk->slots[i * bulk->slots_count / count];
    bulk->slots_count = count;
}

static size_t batch_size(const struct hnsw *hnsw) {
    size_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    size_t waiting = atomic_load_explicit(&hnsw->store->waiting_count, memory_order_relaxed);
    size_t max = linked / GRAPH_BATCHES < BATCH_MAX ? linked / GRAPH_BATCHES : BATCH_MAX;
    return waiting < max ? waiting : max;
}

/* Readies the search for cells near the lowest slots that wait; if none does any more, the batch is
 * at its end. */
static bool begin_batch(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    size_t max = batch_size(hnsw);
    size_t wanted = CELLS_LOOKED_AT * hnsw->ef_construct / CANDIDATES;
    if (!reserve(bulk, max, wanted < bulk->cells.count ? wanted : bulk->cells.count))
        return false;
    for (uint32_t slot = 0; bulk->slots_count < max && store_find_waiting(hnsw->store, &slot);
         slot++)
        bulk->slots[bulk->slots_count++] = slot;
    bulk->turns_next = 0;
    bulk->phase = bulk->slots_count > 0 ? HNSW_BULK_FINDING : HNSW_BULK_LINKING;
    return true;
}

/* ---- Pieces -----------------------------------------------------------------------------------
 */

/* Those of a piece that can be read; `places` of them in the piece. */
static size_t take_readable(const struct hnsw *hnsw, size_t first, size_t count, uint32_t *slots,
                            size_t *places) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        slots[kept] = hnsw->bulk.slots[first + i];
        places[kept] = first + i;
        kept += hnsw_bulk_may_read(hnsw->store, slots[kept]);
    }
    return kept;
}

/* Finds the cells near each slot of a piece. Without memory for that they have none: these slots
 * are walked for. */
static void find_piece(struct hnsw *hnsw, struct index_scratch *scratch, size_t first,
                       size_t count) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    uint32_t slots[PIECE] = {0};
    size_t places[PIECE], kept = take_readable(hnsw, first, count, slots, places);
    uint16_t found[PIECE * CELLS_WANTED_MAX];
    size_t bytes = bulk->wanted * sizeof(found[0]);
    memset(bulk->found + first * bulk->wanted, 0xff, count * bytes); /* CELLS_NONE */
    if (!cells_find(&bulk->cells, slots, kept, bulk->wanted, &scratch->block, found))
        return;
    for (size_t i = 0; i < kept; i++)
        memcpy(bulk->found + places[i] * bulk->wanted, found + i * bulk->wanted, bytes);
}

/* True if a share 1 / so many of the graph waits. */
static bool waits(const struct hnsw *hnsw, uint64_t share) {
    uint64_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    uint64_t waiting = atomic_load_explicit(&hnsw->store->waiting_count, memory_order_relaxed);
    return waiting * share >= linked;
}

/* What was linked in bulk since cells were made last has stale edges; a load may be long, and walks
 * do better by edges. */
static void fill_piece(struct hnsw *hnsw, struct index_scratch *scratch, size_t first,
                       size_t count) {
    find_piece(hnsw, scratch, first, count);
    if (waits(hnsw, SOON_SHARE))
        return;
    for (size_t i = 0; i < count; i++)
        hnsw_edges_refresh_slot(hnsw, scratch, hnsw->bulk.slots[first + i]);
}

/* ---- Ends of phases ---------------------------------------------------------------------------
 */

/* Slots that went meanwhile, and may be another's by now. */
static void forget_unreadable(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    for (size_t i = 0; i < bulk->slots_count; i++) {
        if (!hnsw_bulk_may_read(hnsw->store, bulk->slots[i]))
            bulk->found[i * bulk->wanted] = CELLS_NONE;
    }
}

static bool end_training(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    forget_unreadable(hnsw);
    if (!cells_move(&bulk->cells, bulk->slots, bulk->slots_count, bulk->found) ||
        !cells_sort(&bulk->cells))
        return false;
    bulk->rounds++;
    if (bulk->rounds < ROUNDS) {
        bulk->taken = bulk->done = 0;
        return true;
    }
    bulk->phase = HNSW_BULK_FILLING;
    return take_linked(hnsw);
}

static bool add_to_cells(struct hnsw_bulk *bulk) {
    for (size_t i = 0; i < bulk->slots_count; i++) {
        uint16_t cell = bulk->found[i * bulk->wanted];
        if (cell == CELLS_NONE)
            continue;
        if (!cells_add(&bulk->cells, cell, bulk->slots[i]))
            return false;
        bulk->members++;
    }
    return true;
}

static bool end_filling(struct hnsw *hnsw) {
    return add_to_cells(&hnsw->bulk) && begin_batch(hnsw);
}

/* Puts the batch into cells, and those in turns that are near each other. */
static bool end_finding(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    struct hit *hits = malloc(bulk->slots_count * sizeof(*hits));
    free(bulk->turns);
    bulk->turns = malloc(bulk->slots_count * sizeof(*bulk->turns));
    forget_unreadable(hnsw);
    bool has_memory = hits && bulk->turns && add_to_cells(bulk);
    for (size_t i = 0; has_memory && i < bulk->slots_count; i++) {
        uint16_t cell = bulk->found[i * bulk->wanted];
        hits[i] = (struct hit){.slot = (uint32_t)i, .distance = (float)cell};
    }
    if (has_memory)
        hits_sort(hits, bulk->slots_count);
    for (size_t i = 0; has_memory && i < bulk->slots_count; i++)
        bulk->turns[i] = hits[i].slot;
    free(hits);
    bulk->phase = HNSW_BULK_LINKING;
    return has_memory;
}

static const struct {
    void (*do_piece)(struct hnsw *hnsw, struct index_scratch *scratch, size_t first, size_t count);
    bool (*end)(struct hnsw *hnsw); /* false when memory ends */
} phases[HNSW_BULK_PHASES] = {
    [HNSW_BULK_TRAINING] = {find_piece, end_training},
    [HNSW_BULK_FILLING] = {fill_piece, end_filling},
    [HNSW_BULK_FINDING] = {find_piece, end_finding},
};

/* ---- Batches ----------------------------------------------------------------------------------
 */

/* Nearness to centres tells what is near by dot product only if lengths are about the same. Vectors
 * without length, of which a few stand in many sets, are as near to one as to the other. */
static bool is_fit(const struct hnsw *hnsw) {
    const struct hnsw_bulk *bulk = &hnsw->bulk;
    float shortest = FLT_MAX, longest = 0;
    for (size_t i = 0; hnsw->space->metric == CODE_METRIC_DOT && i < bulk->slots_count; i++) {
        float length = store_meta(hnsw->store, bulk->slots[i])->length;
        shortest = length > 0 && length < shortest ? length : shortest;
        longest = length > longest ? length : longest;
    }
    return longest <= shortest * lengths_apart_max;
}

static bool make_cells(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    cells_free(&bulk->cells);
    bulk->phase = HNSW_BULK_TRAINING;
    bulk->rounds = 0;
    bulk->members = 0;
    bulk->unlinked = atomic_load_explicit(&hnsw->unlinked, memory_order_relaxed);
    if (!take_linked(hnsw))
        return false;
    bulk->made_for = bulk->slots_count + batch_size(hnsw);
    size_t count = (size_t)(ROOT_CELLS * sqrt((double)bulk->made_for));
    count = count > bulk->made_for / CELL_SLOTS ? count : bulk->made_for / CELL_SLOTS;
    count = count < CELLS_MAX ? count : CELLS_MAX;
    thin_out(bulk, SAMPLE_SHARE * count);
    return is_fit(hnsw) && cells_init(&bulk->cells, hnsw->store, hnsw->space, bulk->slots,
                                      bulk->slots_count, count);
}

/* True if there are cells, and the graph has grown to no more than so many times what they were
 * made for. */
static bool has_cells(const struct hnsw *hnsw, uint64_t growth_max) {
    const struct hnsw_bulk *bulk = &hnsw->bulk;
    uint64_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    uint64_t unlinked = atomic_load_explicit(&hnsw->unlinked, memory_order_relaxed);
    return bulk->cells.count > 0 && linked < growth_max * bulk->made_for &&
           unlinked - bulk->unlinked < bulk->made_for / AGED_SHARE;
}

/* True if no group has slots left, or a builder. */
static bool are_groups_done(const struct hnsw_bulk *bulk) {
    bool are_done = true;
    for (size_t i = 0; i < HNSW_GROUPS_MAX && bulk->groups[i]; i++)
        are_done &= !bulk->groups[i]->is_taken && bulk->groups[i]->next == bulk->groups[i]->count;
    return are_done;
}

/* Under the lock of claims: do enough slots wait for a batch, and is none under way? */
static bool is_wanted(const struct hnsw *hnsw) {
    const struct hnsw_bulk *bulk = &hnsw->bulk;
    uint64_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    uint64_t waiting = atomic_load_explicit(&hnsw->store->waiting_count, memory_order_relaxed);
    bool is_ended = bulk->phase == HNSW_BULK_IDLE ||
                    (bulk->phase == HNSW_BULK_LINKING && bulk->turns_next >= bulk->slots_count &&
                     are_groups_done(bulk));
    return is_ended && hnsw->space->metric != CODE_METRIC_L1 && linked >= GRAPH_MIN &&
           linked >= 2 * bulk->refused_at && waiting >= BATCH_MIN &&
           (waits(hnsw, FIRST_SHARE) || (waits(hnsw, LAST_SHARE) && has_cells(hnsw, GROWTH_LAST)));
}

/* What is left of a load goes into the cells that there are, large as they may be. */
static bool begin(struct hnsw *hnsw) {
    bool are_new_worth_it = waits(hnsw, FIRST_SHARE);
    return has_cells(hnsw, are_new_worth_it ? GROWTH_MAX : GROWTH_LAST) ? begin_batch(hnsw)
                                                                        : make_cells(hnsw);
}

/* Readies the next phase, with `ready`; without it there are walks until the graph has doubled. */
static void change(struct hnsw *hnsw, bool (*ready)(struct hnsw *hnsw)) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    bool is_ready = ready(hnsw);
    pthread_mutex_lock(&hnsw->claim_lock);
    bulk->is_changing = false;
    if (!is_ready) {
        drop(bulk);
        bulk->refused_at = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    }
    pthread_mutex_unlock(&hnsw->claim_lock);
}

/* What a builder is to do next. */
struct task {
    enum hnsw_bulk_phase phase;
    size_t first, count; /* slots of the phase; count 0: none */
    bool begins;         /* a batch */
    bool is_busy;        /* slots are linked in bulk, or soon */
};

static struct task take_task(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    struct task task = {.is_busy = true};
    pthread_mutex_lock(&hnsw->claim_lock);
    if (!bulk->is_changing) {
        task.phase = bulk->phase;
        task.begins = bulk->is_changing = is_wanted(hnsw);
        task.is_busy = task.begins || task.phase != HNSW_BULK_IDLE;
        if (!task.begins && phases[task.phase].do_piece) {
            size_t left = bulk->slots_count - bulk->taken;
            task.first = bulk->taken;
            task.count = left < PIECE ? left : PIECE;
            bulk->taken += task.count;
        }
    }
    pthread_mutex_unlock(&hnsw->claim_lock);
    return task;
}

/* Does the next piece, or begins a batch; false if there is nothing to do. */
static bool do_piece(struct hnsw *hnsw, struct index_scratch *scratch, bool *is_busy) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    struct task task = take_task(hnsw);
    *is_busy = task.is_busy;
    if (task.begins)
        change(hnsw, begin);
    if (task.count == 0)
        return task.begins;
    phases[task.phase].do_piece(hnsw, scratch, task.first, task.count);
    pthread_mutex_lock(&hnsw->claim_lock);
    bulk->done += task.count;
    bool ends = bulk->done == bulk->slots_count;
    bulk->is_changing |= ends;
    pthread_mutex_unlock(&hnsw->claim_lock);
    if (ends)
        change(hnsw, phases[task.phase].end);
    return true;
}

bool hnsw_bulk_work(struct hnsw *hnsw, struct index_scratch *scratch) {
    bool is_busy = false;
    for (size_t i = 0; i < PIECES && do_piece(hnsw, scratch, &is_busy); i++)
        scratch_offer_core(scratch);
    return is_busy;
}

void hnsw_bulk_end(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    pthread_mutex_lock(&hnsw->claim_lock);
    bool is_taken = bulk->is_changing;
    for (size_t i = 0; !is_taken && i < HNSW_GROUPS_MAX && bulk->groups[i]; i++)
        is_taken = bulk->groups[i]->is_taken;
    if (!is_taken && bulk->taken == bulk->done)
        drop(bulk);
    pthread_mutex_unlock(&hnsw->claim_lock);
}
