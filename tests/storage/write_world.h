/* write_world.h -- the model that test_writes.c holds a collection against: what each point should
 * be, and what a filter should say about it. */
#ifndef WRITE_WORLD_H
#define WRITE_WORLD_H

#include "storage/payload_path.h"
#include "tests/storage/storage_fixture.h"

enum {
    IDS = 400,
    NAMES = 2,
    STEPS = 250,
    BATCH_MAX = 60,
    TEXT_MAX = 96,
    FILTERS = 3,
};

static const uint32_t dimensions[NAMES] = {8, 5};
static const char *const names[NAMES] = {"a", "b"};

struct model_point {
    bool exists;
    uint64_t vectors[NAMES]; /* version; 0: none */
    char payload[TEXT_MAX];
};

struct world {
    struct fixture fixture;
    struct collection *collection;
    struct model_point points[IDS];
    uint64_t version;
    uint64_t random;
    struct arena arena; /* of one step */
};

FIXTURE uint64_t draw(struct world *world, uint64_t below) {
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (world->random >> 11) % below;
}

FIXTURE void *take(struct world *world, size_t bytes) {
    void *memory = arena_alloc(&world->arena, bytes);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0, bytes);
    return memory;
}

/* ---- Filters: f 0: even is true, 1: v in [lo, hi), 2: v below lo or even -------------------- */

FIXTURE struct payload_path path_of(struct world *world, const char *text) {
    struct payload_path path;
    ck_assert_int_eq(payload_path_parse(text, strlen(text), &world->arena, &path, NULL), STATUS_OK);
    return path;
}

FIXTURE struct condition even_condition(struct world *world) {
    struct payload_scalar *value = take(world, sizeof(*value));
    *value = (struct payload_scalar){.type = PAYLOAD_BOOL, .boolean = true};
    return (struct condition){.kind = CONDITION_MATCH,
                              .path = path_of(world, "even"),
                              .values = value,
                              .values_count = 1};
}

FIXTURE struct condition range_condition(struct world *world, uint64_t low, uint64_t high) {
    return (struct condition){.kind = CONDITION_RANGE,
                              .path = path_of(world, "v"),
                              .range = {.has_gte = true,
                                        .gte = payload_number_from_u64(low),
                                        .has_lt = true,
                                        .lt = payload_number_from_u64(high)}};
}

FIXTURE struct filter *make_filter(struct world *world, unsigned kind, uint64_t low,
                                   uint64_t high) {
    struct filter *filter = take(world, sizeof(*filter));
    struct condition *items = take(world, 2 * sizeof(*items));
    if (kind != 1)
        items[0] = even_condition(world);
    else
        items[0] = range_condition(world, low, high);
    if (kind == 2)
        items[1] = range_condition(world, 0, low);
    struct condition_list list = {.items = items, .count = kind == 2 ? 2 : 1};
    if (kind == 2)
        filter->should = list;
    else
        filter->must = list;
    return filter;
}

FIXTURE bool model_matches(const struct model_point *point, unsigned kind, uint64_t low,
                           uint64_t high) {
    unsigned long long n, v;
    bool has_values = sscanf(point->payload, "{\"n\":%llu,\"v\":%llu", &n, &v) == 2;
    bool is_even = strstr(point->payload, "\"even\":true") != NULL;
    switch (kind) {
    case 0:
        return is_even;
    case 1:
        return has_values && v >= low && v < high;
    default:
        return is_even || (has_values && v < low);
    }
}

#endif
