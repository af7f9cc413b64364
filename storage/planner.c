#include "storage/planner.h"

#include <assert.h>
#include <time.h>

enum {
    STEPS_BETWEEN_CLOCKS = 512,
    /* Fetching a row and walking its payload takes about as long as reading so many chunks. */
    CHUNKS_PER_VERIFICATION = 16,
    BUDGET_LEAST = 1024,
};

enum status planner_begin(struct planner *planner, const struct plan_source *source,
                          struct error *error) {
    *planner = (struct planner){.source = source, .steps = STEPS_BETWEEN_CLOCKS, .error = error};
    return posting_walk_begin(&planner->walk, source->txn, source->postings, error);
}

void planner_end(struct planner *planner) {
    posting_walk_end(&planner->walk);
}

enum status planner_take(struct planner *planner, struct slot_set **set) {
    *set = planner->spare;
    if (*set) {
        planner->spare = (*set)->next;
        slot_set_clear(*set);
        return STATUS_OK;
    }
    *set = slot_set_create(planner->source->arena, planner->source->slot_end);
    if (!*set)
        return error_set(planner->error, STATUS_NO_MEMORY, "out of memory for a filter's slots");
    return STATUS_OK;
}

void planner_give(struct planner *planner, struct slot_set *set) {
    if (!set)
        return;
    assert(set != planner->live);
    set->next = planner->spare;
    planner->spare = set;
}

enum status planner_live(struct planner *planner, const struct slot_set **live) {
    if (!planner->live) {
        struct slot_set *set;
        bool any;
        enum status status = planner_take(planner, &set);
        if (status == STATUS_OK)
            status = planner_add_mark(planner, POSTING_FIELD_LIVE, POSTING_LIVE, NULL, set, &any);
        if (status != STATUS_OK)
            return status;
        planner->live = set;
    }
    *live = planner->live;
    return STATUS_OK;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum status planner_step(struct planner *planner) {
    if (--planner->steps)
        return STATUS_OK;
    planner->steps = STEPS_BETWEEN_CLOCKS;
    const struct plan_source *source = planner->source;
    if (source->cancelled && atomic_load_explicit(source->cancelled, memory_order_relaxed))
        return error_set(planner->error, STATUS_CANCELLED, "cancelled while a filter was planned");
    if (source->deadline_ns && now_ns() >= source->deadline_ns)
        return error_set(planner->error, STATUS_TIMEOUT, "timed out while a filter was planned");
    return STATUS_OK;
}

enum status planner_add(struct planner *planner, const struct posting_range *range,
                        const struct slot_set *within, uint64_t steps_max, struct slot_set *set,
                        bool *is_complete) {
    struct posting_walk *walk = &planner->walk;
    posting_walk_seek(walk, range);
    *is_complete = false;
    for (uint64_t step = 0; step < steps_max; step++) {
        bool more = false;
        struct posting_chunk chunk;
        enum status status = planner_step(planner);
        if (status == STATUS_OK)
            status = posting_walk_next(walk, &more, planner->error);
        if (status != STATUS_OK)
            return status;
        if (!more) {
            *is_complete = true;
            return STATUS_OK;
        }
        if (walk->number >= set->chunks || (within && !within->occupied[walk->number]))
            continue;
        status = posting_walk_open(walk, &chunk, planner->error);
        if (status != STATUS_OK)
            return status;
        slot_set_add_chunk(set, walk->number, &chunk);
    }
    return STATUS_OK;
}

enum status planner_add_mark(struct planner *planner, uint16_t field, enum posting_class class,
                             const struct slot_set *within, struct slot_set *set, bool *any) {
    const struct posting_range range = {.field = field, .class = class};
    struct posting_walk *walk = &planner->walk;
    posting_walk_seek(walk, &range);
    *any = false;
    for (;;) {
        bool more = false;
        struct posting_chunk chunk;
        enum status status = planner_step(planner);
        if (status == STATUS_OK)
            status = posting_walk_next(walk, &more, planner->error);
        if (status != STATUS_OK || !more)
            return status;
        if (walk->number >= set->chunks || (within && !within->occupied[walk->number]))
            continue;
        status = posting_walk_open(walk, &chunk, planner->error);
        if (status != STATUS_OK)
            return status;
        slot_set_add_chunk(set, walk->number, &chunk);
        *any = true;
    }
}

enum status planner_count(struct planner *planner, const struct posting_range *range,
                          uint64_t steps_max, uint64_t *count) {
    posting_walk_seek(&planner->walk, range);
    *count = 0;
    for (uint64_t step = 0; step < steps_max; step++) {
        bool more = false;
        enum status status = planner_step(planner);
        if (status == STATUS_OK)
            status = posting_walk_next(&planner->walk, &more, planner->error);
        if (status != STATUS_OK || !more)
            return status;
        *count += planner->walk.count;
    }
    return STATUS_OK;
}

uint64_t planner_budget(const struct planner *planner, const struct slot_set *within) {
    const struct plan_source *source = planner->source;
    uint64_t candidates = within ? slot_set_count(within) : source->slot_end;
    if (source->verifications && candidates > source->verifications)
        candidates = source->verifications;
    return candidates * CHUNKS_PER_VERIFICATION + BUDGET_LEAST;
}

bool planner_affords(const struct planner *planner, const struct slot_set *within, uint64_t steps) {
    return steps <= BUDGET_LEAST || steps <= planner_budget(planner, within);
}
