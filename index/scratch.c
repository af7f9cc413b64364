#include "index/scratch.h"

#include <stdlib.h>
#include <string.h>

enum {
    LANE_HITS_KEPT = 8192 /* of each list of a lane: sixteen of each are kept by each thread */
};

enum status index_scratch_create(struct index_scratch **out, struct error *error) {
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return error_set(error, STATUS_NO_MEMORY, "out of memory for a search");
    return STATUS_OK;
}

void index_scratch_set_offer(struct index_scratch *scratch, index_offer_fn *offer, void *context) {
    scratch->offer = offer;
    scratch->offer_context = context;
}

void index_scratch_free(struct index_scratch *scratch) {
    if (!scratch)
        return;
    visited_free(&scratch->visited);
    codes_query_free(&scratch->query);
    codes_query_free(&scratch->node);
    codes_query_free(&scratch->candidate);
    bucket_queue_free(&scratch->queue);
    edges_work_free(&scratch->edges);
    free(scratch->pool.items);
    free(scratch->found.items);
    free(scratch->rows.items);
    for (size_t i = 0; i < scratch->lanes_count; i++) {
        codes_query_free(&scratch->lanes[i].query);
        free(scratch->lanes[i].rows.items);
        free(scratch->lanes[i].heap.items);
        free(scratch->lanes[i].found.items);
    }
    free(scratch->lanes);
    free(scratch->asked.words);
    free(scratch->passed.words);
    free(scratch);
}

bool scratch_reserve_hits(struct scratch_hits *hits, size_t count) {
    if (count <= hits->capacity)
        return true;
    if (count > SIZE_MAX / sizeof(hits->items[0]))
        return false;
    struct hit *items = realloc(hits->items, count * sizeof(items[0]));
    if (!items)
        return false;
    *hits = (struct scratch_hits){.items = items, .capacity = count};
    return true;
}

bool scratch_reserve_words(struct scratch_words *words, size_t count) {
    if (count <= words->capacity)
        return true;
    uint64_t *items = realloc(words->words, count * sizeof(items[0]));
    if (!items)
        return false;
    *words = (struct scratch_words){.words = items, .capacity = count};
    return true;
}

bool scratch_reserve_lanes(struct index_scratch *scratch, size_t count, size_t width) {
    if (count > scratch->lanes_count) {
        struct scratch_lane *lanes = realloc(scratch->lanes, count * sizeof(*lanes));
        if (!lanes)
            return false;
        memset(lanes + scratch->lanes_count, 0, (count - scratch->lanes_count) * sizeof(*lanes));
        scratch->lanes = lanes;
        scratch->lanes_count = count;
    }
    for (size_t i = 0; i < count; i++) {
        if (!codes_query_reserve(&scratch->lanes[i].query, width))
            return false;
    }
    return true;
}

static void trim(struct scratch_hits *hits) {
    if (hits->capacity <= LANE_HITS_KEPT)
        return;
    free(hits->items);
    *hits = (struct scratch_hits){0};
}

void scratch_trim_lanes(struct index_scratch *scratch) {
    for (size_t i = 0; i < scratch->lanes_count; i++) {
        trim(&scratch->lanes[i].rows);
        trim(&scratch->lanes[i].heap);
    }
}

bool scratch_reserve(struct index_scratch *scratch, uint32_t slot_end, size_t width) {
    return visited_reserve(&scratch->visited, slot_end) &&
           codes_query_reserve(&scratch->query, width) &&
           codes_query_reserve(&scratch->node, width) &&
           codes_query_reserve(&scratch->candidate, width) &&
           edges_work_reserve(&scratch->edges, width);
}
