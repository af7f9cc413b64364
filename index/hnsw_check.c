/* What must hold in a quiet graph. */
#include "index/hnsw_links.h"

#include <inttypes.h>
#include <stdlib.h>

struct check {
    const struct hnsw *hnsw;
    const struct slots *slots;
    uint32_t end;
    uint32_t *queue;             /* slots that were reached */
    uint64_t *reached, *chained; /* bits of slots: from the entry; twins, from what they hang on */
    size_t queue_count;
    uint64_t linked;
    uint8_t *edges; /* of a block, as they should be */
    struct edge_work work;
    struct error *error;
};

static enum status broken(struct check *check, uint32_t slot, const char *what) {
    return error_set(check->error, STATUS_CORRUPT, "graph: slot %" PRIu32 " %s", slot, what);
}

static bool is_linked(const struct check *check, uint32_t slot, uint32_t level) {
    return slot < check->end && store_is_linked(check->hnsw->store, slot) &&
           atomic_load(&store_node(check->hnsw->store, slot)->level) >= level;
}

static bool keeps(const struct check *check, uint32_t owner, uint32_t slot) {
    const _Atomic uint32_t *list = store_links(check->hnsw->store, owner);
    for (uint32_t i = 0; i < check->hnsw->store->link_count; i++) {
        if (hnsw_link_load(list, i) == (slot | HNSW_KEPT))
            return true;
    }
    return false;
}

static enum status check_list(struct check *check, uint32_t slot, uint32_t level) {
    const _Atomic uint32_t *list = hnsw_list(check->hnsw, slot, level);
    for (uint32_t i = 0; i < hnsw_places(check->hnsw, level); i++) {
        uint32_t link = hnsw_link_load(list, i), to = hnsw_link_slot(link);
        if (link == SLOT_NONE)
            continue;
        if (level > 0 && link != to)
            return broken(check, slot, "has a flag on an upper level");
        if (to == slot || !is_linked(check, to, level))
            return broken(check, slot, "links to itself or to a slot that is not linked");
        for (uint32_t j = 0; j < i; j++) {
            uint32_t earlier = hnsw_link_load(list, j);
            if (earlier != SLOT_NONE && hnsw_link_slot(earlier) == to)
                return broken(check, slot, "links twice to the same slot");
        }
        if (hnsw_link_is_kept(link) && !keeps(check, to, slot))
            return broken(check, slot, "keeps a slot that does not keep it");
    }
    return STATUS_OK;
}

/* Twins that hang on the slot know it, and hang nowhere else. */
static enum status check_chain(struct check *check, uint32_t slot) {
    uint32_t twin = hnsw_twins_first(check->hnsw, slot);
    for (; twin != SLOT_NONE; twin = hnsw_twins_next(check->hnsw, twin)) {
        if (twin >= check->end || store_kind(check->hnsw->store, twin) != STORE_TWIN ||
            hnsw_twins_linked(check->hnsw, twin) != slot || bitmap_test(check->chained, twin))
            return broken(check, slot, "has a chain of twins that are not its own");
        bitmap_set(check->chained, twin);
    }
    return STATUS_OK;
}

static enum status check_twin(struct check *check, uint32_t slot) {
    if (!is_linked(check, hnsw_twins_linked(check->hnsw, slot), 0))
        return broken(check, slot, "is the twin of a slot that is not linked");
    return STATUS_OK;
}

static enum status check_chains(struct check *check) {
    const struct store *store = check->hnsw->store;
    enum status status = STATUS_OK;
    for (uint32_t slot = 0; slot < check->end && status == STATUS_OK; slot++) {
        if (is_linked(check, slot, 0))
            status = check_chain(check, slot);
    }
    for (uint32_t slot = 0; slot < check->end && status == STATUS_OK; slot++) {
        if (store_is_present(store, slot) && store_kind(store, slot) == STORE_TWIN &&
            !bitmap_test(check->chained, slot))
            status = broken(check, slot, "is not in the chain of its twins");
    }
    return status;
}

static enum status check_slot(struct check *check, uint32_t slot) {
    const struct store *store = check->hnsw->store;
    enum store_kind kind = store_kind(store, slot);
    enum status status = STATUS_OK;
    if (!store_is_present(store, slot))
        return STATUS_OK;
    if (store_is_waiting(store, slot) != (kind == STORE_UNLINKED))
        return broken(check, slot, "both waits and is linked, or neither");
    check->linked += kind != STORE_UNLINKED;
    if (kind == STORE_TWIN)
        return check_twin(check, slot);
    uint32_t level = atomic_load(&store_node(store, slot)->level);
    for (uint32_t at = 0; kind == STORE_LINKED && at <= level && status == STATUS_OK; at++)
        status = check_list(check, slot, at);
    if (status == STATUS_OK && kind == STORE_LINKED &&
        !hnsw_edges_are_right(check->hnsw, slot, &check->work, check->edges))
        return broken(check, slot, "has edges of other links, or other codes");
    return status;
}

static void reach(struct check *check, uint32_t slot) {
    if (!bitmap_test(check->reached, slot)) {
        bitmap_set(check->reached, slot);
        check->queue[check->queue_count++] = slot;
    }
}

static enum status check_reachable(struct check *check) {
    const struct store *store = check->hnsw->store;
    uint64_t entry = atomic_load(&check->hnsw->entry);
    if (entry != HNSW_NO_ENTRY) {
        if (!is_linked(check, hnsw_entry_slot(entry), hnsw_entry_level(entry)))
            return broken(check, hnsw_entry_slot(entry), "is the entry but not linked");
        reach(check, hnsw_entry_slot(entry));
    }
    for (size_t next = 0; next < check->queue_count; next++) {
        uint32_t slot = check->queue[next];
        uint32_t level = atomic_load(&store_node(store, slot)->level);
        for (uint32_t at = 0; at <= level; at++) {
            const _Atomic uint32_t *list = hnsw_list(check->hnsw, slot, at);
            for (uint32_t i = 0; i < hnsw_places(check->hnsw, at); i++) {
                uint32_t link = hnsw_link_load(list, i);
                if (!(link & HNSW_FILLER))
                    reach(check, hnsw_link_slot(link));
            }
        }
    }
    for (uint32_t slot = 0; slot < check->end; slot++) {
        if (is_linked(check, slot, 0) && slots_died_at(check->slots, slot) == 0 &&
            !bitmap_test(check->reached, slot))
            return broken(check, slot, "cannot be reached");
    }
    return STATUS_OK;
}

static enum status check_seeds(struct check *check) {
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) {
        uint32_t seed = hnsw_seeds_load(&check->hnsw->seeds, i);
        if (seed != SLOT_NONE && !is_linked(check, seed, 0))
            return broken(check, seed, "is a seed of walks but not linked");
    }
    return STATUS_OK;
}

static enum status check_all(struct check *check) {
    enum status status = STATUS_OK;
    for (uint32_t slot = 0; slot < check->end && status == STATUS_OK; slot++)
        status = check_slot(check, slot);
    if (status == STATUS_OK)
        status = check_chains(check);
    if (status == STATUS_OK)
        status = check_seeds(check);
    if (status == STATUS_OK)
        status = check_reachable(check);
    if (status == STATUS_OK && check->linked != atomic_load(&check->hnsw->linked))
        status = error_set(check->error, STATUS_CORRUPT, "graph: miscounts its slots");
    return status;
}

enum status hnsw_check(const struct hnsw *hnsw, const struct slots *slots, struct error *error) {
    struct check check = {
        .hnsw = hnsw, .slots = slots, .end = store_end(hnsw->store), .error = error};
    check.queue = calloc((size_t)check.end + 1, sizeof(check.queue[0]));
    check.reached = calloc(bitmap_words(check.end) + 1, sizeof(check.reached[0]));
    check.chained = calloc(bitmap_words(check.end) + 1, sizeof(check.chained[0]));
    check.edges = aligned_alloc(KERNELS_BLOCK, hnsw->store->edge_block_bytes + KERNELS_BLOCK);
    enum status status = STATUS_OK;
    if (!check.queue || !check.reached || !check.chained || !check.edges ||
        !edges_work_reserve(&check.work, hnsw->space->width))
        status = error_set(error, STATUS_NO_MEMORY, "out of memory for checking a graph");
    else
        status = check_all(&check);
    free(check.queue);
    free(check.reached);
    free(check.chained);
    free(check.edges);
    edges_work_free(&check.work);
    return status;
}
