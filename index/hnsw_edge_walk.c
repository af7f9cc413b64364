/* The walk of level 0 by edges: a node that is expanded tells how far its neighbours are about.
 *
 * Which node is expanded next is decided by estimates (edges.h), so that a step costs one node: its
 * edges, its links and its code, which lie at known places and are asked for a step ahead. Its own
 * distance is measured by its code; the nodes that were expanded are what the walk finds. (As
 * SymphonyQG, Gou et al., SIGMOD 2025, but for the bucket queue, and codes in place of vectors.)
 *
 * Where edges are stale neighbours are measured by their codes, once each: a graph that has no
 * edges yet is walked as hnsw_walk_level does.
 */
#include "index/edges.h"
#include "index/hnsw_links.h"
#include "index/memory.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* Asks for what expanding the node will read, but for its edges: they are asked for while those of
 * the node before are looked at. */
MEMORY_PREFETCHING prefetch_node(const struct store *store, uint32_t slot) {
    memory_prefetch(store_record(store, slot), store->edges_at);
    memory_prefetch(store_code(store, slot), store->code_bytes);
}

static float measure(struct walk *walk, uint32_t slot) {
    const struct store *store = walk->hnsw->store;
    walk->scored++;
    return codes_distance(walk->hnsw->space, walk->query, store_code(store, slot),
                          store_head(store, slot)->meta);
}

/* A block of a node's neighbours. */
struct block {
    const _Atomic uint32_t *list;
    const uint8_t *edges;
    uint32_t stale; /* places whose edge is not written */
};

/* Adds the neighbours whose edge is stale, those met for the first time, to the batch. */
static void add_stale(struct walk *walk, const struct block *block) {
    struct visited *visited = &walk->scratch->visited;
    for (uint32_t bits = block->stale; bits != 0; bits &= bits - 1) {
        uint32_t link = hnsw_link_load(block->list, (uint32_t)__builtin_ctz(bits));
        uint32_t neighbour = hnsw_link_slot(link);
        /* Fillers are not worth a fetch of their own. */
        if ((link & HNSW_FILLER) || !visited_is_new(visited, neighbour))
            continue;
        visited_add(visited, neighbour);
        search_batch_add(walk->hnsw->store, &walk->scratch->batch, neighbour);
    }
}

/* Adds the others that are estimated to lie below the limit, with their distances. */
static void add_estimated(struct walk *walk, const struct block *block,
                          const struct kernel_edge_look *look) {
    struct code_batch *batch = &walk->scratch->batch;
    float *estimates = walk->scratch->estimates;
    uint32_t below =
        walk->hnsw->space->kernels->edge_estimates(&walk->query->edges, look, estimates);
    size_t count = batch->count;
    for (below &= ~block->stale; below != 0; below &= below - 1) {
        uint32_t place = (uint32_t)__builtin_ctz(below);
        uint32_t neighbour = hnsw_link_slot(hnsw_link_load(block->list, place));
        batch->slots[count] = neighbour;
        batch->distances[count] = estimates[place];
        count += visited_is_new(&walk->scratch->visited, neighbour);
    }
    batch->count = count;
}

static inline struct block block_of(const struct store *store, uint32_t slot, uint32_t number) {
    uint32_t stale = store_stale(store, slot, number); /* before the edges are looked up */
    return (struct block){.list = store_links(store, slot) + (size_t)number * EDGES_PER_BLOCK,
                          .edges = store_edges(store, slot, number),
                          .stale = stale};
}

/* The node's neighbours with their distances, as far as known, make the batch. The edges of `next`,
 * if there is one, are asked for. */
static void look_around(struct walk *walk, struct hit node, uint32_t next, float limit) {
    const struct store *store = walk->hnsw->store;
    struct code_batch *batch = &walk->scratch->batch;
    batch->count = 0;
    for (uint32_t i = 0; i < store->edge_blocks; i++) {
        const struct block block = block_of(store, node.slot, i);
        if (block.stale != 0)
            add_stale(walk, &block);
    }
    if (batch->count > 0)
        codes_distances(walk->hnsw->space, walk->query, batch);
    walk->scored += batch->count;
    for (uint32_t i = 0; i < store->edge_blocks; i++) {
        const struct block block = block_of(store, node.slot, i);
        const struct kernel_edge_look look = {
            .block = block.edges,
            .slopes = store_slopes(store, node.slot, i),
            .next = next == SLOT_NONE ? block.edges : store_edges(store, next, i),
            .slope_unit = edges_slope_unit(walk->hnsw->space, store_head(store, node.slot)->meta,
                                           store_power(store, node.slot, i)),
            .distance = node.distance,
            .limit = limit};
        if (block.stale != UINT32_MAX)
            add_estimated(walk, &block, &look);
    }
}

static void push_batch(struct walk *walk) {
    const struct code_batch *batch = &walk->scratch->batch;
    bucket_queue_push(&walk->scratch->queue, batch->slots, batch->distances, batch->count);
}

/* Sets the range of the queue from what the first node has around it. */
static void open_queue(struct walk *walk, struct hit start) {
    const struct code_batch *batch = &walk->scratch->batch;
    float low = start.distance, high = start.distance;
    for (size_t i = 0; i < batch->count; i++) {
        low = batch->distances[i] < low ? batch->distances[i] : low;
        high = batch->distances[i] > high ? batch->distances[i] : high;
    }
    /* The nearest lie beyond what the first node sees of them. Estimates may leave f32. */
    low = fmaxf(low - 3 * (high - low), -FLT_MAX);
    bucket_queue_begin(&walk->scratch->queue, walk->ef, low, fmaxf(high, low));
}

/* Puts an expanded node into the pool, if it is near enough. */
static void keep(struct walk *walk, struct hit hit) {
    if (walk->count == walk->kept_max || walk->count == walk->ef) {
        if (hit.distance >= walk->pool[walk->count - 1].distance)
            return;
        walk->count--;
    }
    hnsw_walk_insert(walk, hit);
}

/* The node to be expanded after the present one, which is asked for now; SLOT_NONE if none is left.
 */
static uint32_t take_next(struct walk *walk) {
    uint32_t slot;
    while (bucket_queue_pop(&walk->scratch->queue, &slot)) {
        if (!visited_expand(&walk->scratch->visited, slot))
            continue;
        prefetch_node(walk->hnsw->store, slot);
        return slot;
    }
    return SLOT_NONE;
}

void hnsw_walk_edges(struct walk *walk, struct hit start) {
    const struct store *store = walk->hnsw->store;
    struct bucket_queue *queue = &walk->scratch->queue;
    struct visited *visited = &walk->scratch->visited;
    assert(store->edge_blocks > 0);
    visited_begin(visited);
    if (start.slot < visited->capacity) /* an entry may be younger than the reservation */
        visited_expand(visited, start.slot);
    walk->count = 0;
    look_around(walk, start, SLOT_NONE, INFINITY);
    open_queue(walk, start);
    push_batch(walk);
    keep(walk, start);
    walk->scratch->batch.count = 0;
    hnsw_walk_add_seeds(walk);
    codes_distances(walk->hnsw->space, walk->query, &walk->scratch->batch);
    push_batch(walk);
    uint32_t next = take_next(walk);
    while (next != SLOT_NONE) {
        struct hit node = {.slot = next, .distance = 0};
        next = take_next(walk);
        node.distance = measure(walk, node.slot);
        keep(walk, node);
        look_around(walk, node, next, bucket_queue_limit(queue));
        push_batch(walk);
        if (next == SLOT_NONE)
            next = take_next(walk);
        if (walk->search) {
            walk->search->scored++;
            if (search_is_over(walk->search))
                break;
        }
    }
    walk->was_full = bucket_queue_is_full(queue);
}
