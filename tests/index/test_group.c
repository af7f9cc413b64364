/* What a group knows of its slots: against all codes, and after these have changed. */
#include "index/edges.h"
#include "index/hnsw.h"

#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIMENSION = 32,
    ROWS = 4000,
    CLUSTERS = 100,
    NEAREST = 10,
    EF_CONSTRUCT = 200,
};

static struct store store;
static struct code_space space;
static struct hnsw hnsw;
static struct index_scratch *scratch;

static float uniform(void) {
    return (float)rand() / (float)RAND_MAX - 0.5f;
}

/* A vector of a cluster. */
static void encode(uint32_t slot, uint32_t cluster) {
    float vector[DIMENSION];
    uint32_t state = cluster * 747796405U + 1;
    for (size_t i = 0; i < DIMENSION; i++) {
        state = state * 1664525U + 1013904223U;
        vector[i] = (float)(state >> 8) / (float)(1 << 24) + uniform();
    }
    struct code_row row = {.code = store_code(&store, slot),
                           .meta = store_meta(&store, slot),
                           .error = store_error(&store, slot)};
    codes_encode(&space, vector, &scratch->query, &row);
}

static void link_one(void) {
    struct error error = {0};
    bool linked;
    ck_assert_int_eq(hnsw_link(&hnsw, scratch, &linked, &error), STATUS_OK);
    ck_assert(linked);
}

/* Slots that wait. */
static void put_all(size_t edge_bits) {
    struct error error = {0};
    ck_assert(codes_space_init(&space, DISTANCE_EUCLID, DIMENSION));
    space.edge_bits = edge_bits;
    const struct store_layout layout = {
        .code_bytes = space.width, .link_count = 32, .edge_block_bytes = edges_block_bytes(&space)};
    ck_assert(store_init(&store, &layout));
    ck_assert(store_reserve(&store, ROWS));
    hnsw.m = 16;
    hnsw.ef_construct = EF_CONSTRUCT;
    hnsw_init(&hnsw, &store, &space);
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    ck_assert(scratch_reserve(scratch, store_end(&store), space.width));
    srand(9);
    for (uint32_t row = 0; row < ROWS; row++) {
        encode(row, row % CLUSTERS);
        store_put(&store, row, hnsw_level(&hnsw, row));
    }
}

/* Slots that wait, as many of them linked as it takes to reach a phase. */
static void link_until(enum hnsw_bulk_phase phase) {
    put_all(0);
    while (hnsw.bulk.phase != phase)
        link_one();
}

/* A graph of which the first group's first slot is claimed. */
static struct hnsw_group *set_up(uint32_t *slot) {
    link_until(HNSW_BULK_LINKING);
    struct hnsw_group *group = hnsw_bulk_claim(&hnsw, scratch, slot);
    ck_assert_ptr_nonnull(group);
    return group;
}

static void tear_down(void) {
    hnsw_free(&hnsw);
    index_scratch_free(scratch);
    store_free(&store);
    codes_space_free(&space);
    memset(&hnsw, 0, sizeof(hnsw));
}

static bool find(struct walk *walk, const struct hnsw_group *group, uint32_t slot) {
    ck_assert(hnsw_walk_init(walk, &hnsw, scratch, EF_CONSTRUCT));
    codes_query_row(&space, store_code(&store, slot), *store_meta(&store, slot), &scratch->query);
    return hnsw_group_candidates(walk, group, slot);
}

/* Linked slots, each once, as far as they are, nearest first. */
static void check_pool(const struct walk *walk, uint32_t slot) {
    ck_assert_uint_ge(walk->count, EF_CONSTRUCT / 2);
    ck_assert_uint_le(walk->count, EF_CONSTRUCT);
    for (size_t i = 0; i < walk->count; i++) {
        struct hit hit = walk->pool[i];
        ck_assert_uint_ne(hit.slot, slot);
        ck_assert_int_eq(store_kind(&store, hit.slot), STORE_LINKED);
        ck_assert_float_eq(hit.distance,
                           codes_distance(&space, walk->query, store_code(&store, hit.slot),
                                          *store_meta(&store, hit.slot)));
        ck_assert(i == 0 || walk->pool[i - 1].distance <= hit.distance);
        for (size_t j = 0; j < i; j++)
            ck_assert_uint_ne(walk->pool[j].slot, hit.slot);
    }
}

/* How many of the linked slots that are nearest the pool begins with. */
static size_t count_nearest(const struct walk *walk, uint32_t slot) {
    size_t nearer = 0;
    float limit = walk->pool[NEAREST - 1].distance;
    for (uint32_t other = 0; other < ROWS; other++) {
        nearer += other != slot && store_kind(&store, other) == STORE_LINKED &&
                  codes_distance(&space, walk->query, store_code(&store, other),
                                 *store_meta(&store, other)) <= limit;
    }
    return nearer < 2 * NEAREST ? 2 * NEAREST - nearer : 0;
}

START_TEST(what_is_near_is_found) {
    uint32_t slot;
    struct walk walk;
    size_t found = 0, slots = 0;
    struct hnsw_group *group = set_up(&slot);
    for (bool is_first = true; is_first || group->next < group->count; is_first = false) {
        if (!is_first)
            slot = group->slots[group->next++];
        ck_assert(find(&walk, group, slot));
        check_pool(&walk, slot);
        found += count_nearest(&walk, slot);
        slots++;
    }
    ck_assert_uint_ge(slots, 20);
    ck_assert_msg(found * 100 >= slots * NEAREST * 97, "%zu of %zu", found, slots * NEAREST);
    hnsw_bulk_return(&hnsw, group);
    tear_down();
}
END_TEST

START_TEST(codes_that_changed_are_measured_again) {
    uint32_t slot;
    struct walk walk;
    struct hnsw_group *group = set_up(&slot);
    ck_assert(find(&walk, group, slot));
    for (size_t i = 0; i < NEAREST; i++) /* as if they had been unlinked and used again */
        encode(walk.pool[i].slot, CLUSTERS + 1);
    hnsw.unlinked += NEAREST;
    ck_assert(find(&walk, group, slot));
    check_pool(&walk, slot);
    hnsw_bulk_return(&hnsw, group);
    tear_down();
}
END_TEST

START_TEST(a_slot_with_another_code_is_walked_for) {
    uint32_t slot;
    struct walk walk;
    struct hnsw_group *group = set_up(&slot);
    ck_assert(find(&walk, group, slot));
    if (_i == 0)
        encode(slot, CLUSTERS + 1);
    else
        store_meta(&store, slot)->scale *= 2;
    ck_assert(!find(&walk, group, slot));
    hnsw_bulk_return(&hnsw, group);
    tear_down();
}
END_TEST

/* A slot that was used again while cells are kept stands in the cell of each of its lives. */
START_TEST(a_slot_in_two_cells_is_a_candidate_once) {
    uint32_t slot;
    struct walk walk;
    struct hnsw_group *group = set_up(&slot);
    struct cells *cells = &hnsw.bulk.cells;
    ck_assert(find(&walk, group, slot));
    for (uint16_t cell = 0; cell < cells->count; cell++) {
        for (size_t i = 0; i < walk.count; i++)
            ck_assert(cells_add(cells, cell, walk.pool[i].slot));
    }
    hnsw_group_measure(group, &hnsw, scratch);
    ck_assert(find(&walk, group, slot));
    ck_assert_uint_ge(walk.count, 1);
    for (size_t i = 0; i < walk.count; i++) {
        for (size_t j = 0; j < i; j++)
            ck_assert_uint_ne(walk.pool[j].slot, walk.pool[i].slot);
    }
    hnsw_bulk_return(&hnsw, group);
    tear_down();
}
END_TEST

START_TEST(a_group_whose_slots_others_took_is_given_up) {
    uint32_t slot;
    struct hnsw_group *group = set_up(&slot);
    for (size_t i = group->next; i < group->count; i++)
        ck_assert(store_claim_slot(&store, group->slots[i]));
    hnsw_bulk_return(&hnsw, group);
    ck_assert_ptr_null(hnsw_bulk_claim(&hnsw, scratch, &slot)); /* the batch had no other */
    ck_assert(!group->is_taken);
    ck_assert_uint_eq(group->next, group->count);
    tear_down();
}
END_TEST

/* One builder more than there are places for groups. */
START_TEST(who_finds_no_place_for_a_group_walks) {
    static struct hnsw_group taken[HNSW_GROUPS_MAX];
    struct hnsw_bulk *bulk = &hnsw.bulk;
    uint32_t slot;
    link_until(HNSW_BULK_FILLING);
    while (bulk->phase != HNSW_BULK_LINKING)
        ck_assert(hnsw_bulk_work(&hnsw, scratch));
    ck_assert_ptr_null(bulk->groups[0]);
    for (size_t i = 0; i < HNSW_GROUPS_MAX; i++) {
        taken[i].is_taken = true;
        bulk->groups[i] = &taken[i];
    }
    ck_assert_ptr_null(hnsw_bulk_claim(&hnsw, scratch, &slot));
    ck_assert_uint_eq(bulk->turns_next, 0); /* the batch goes on once there is */
    bulk->groups[HNSW_GROUPS_MAX - 1] = NULL;
    struct hnsw_group *group = hnsw_bulk_claim(&hnsw, scratch, &slot);
    ck_assert_ptr_nonnull(group);
    ck_assert_ptr_eq(group, bulk->groups[HNSW_GROUPS_MAX - 1]);
    hnsw_bulk_return(&hnsw, group);
    hnsw_group_free(group);
    memset(bulk->groups, 0, sizeof(bulk->groups));
    tear_down();
}
END_TEST

/* Others have taken all that waited by the time that the cells are ready: no reason to do without
 * cells from then on. */
START_TEST(a_batch_may_come_to_nothing) {
    uint32_t slot = 0;
    link_until(HNSW_BULK_FILLING);
    while (store_find_waiting(&store, &slot))
        ck_assert(store_claim_slot(&store, slot));
    while (hnsw.bulk.phase == HNSW_BULK_FILLING)
        ck_assert(hnsw_bulk_work(&hnsw, scratch));
    ck_assert_int_eq(hnsw.bulk.phase, HNSW_BULK_LINKING);
    ck_assert_ptr_null(hnsw_bulk_claim(&hnsw, scratch, &slot));
    for (slot = 0; slot < ROWS; slot++) {
        if (store_is_waiting(&store, slot))
            store_unclaim(&store, slot, false);
    }
    while (!hnsw_bulk_claim(&hnsw, scratch, &slot))
        ck_assert(hnsw_bulk_work(&hnsw, scratch));
    tear_down();
}
END_TEST

/* The graph is as large as when the default ef was set by edges, but meanwhile it was set by codes.
 */
START_TEST(an_ef_that_was_set_in_a_load_is_set_again_after_it) {
    put_all(2);
    for (size_t i = 0; i < ROWS / 2; i++)
        link_one();
    atomic_store(&hnsw.calibrated_at, ROWS);
    for (size_t i = ROWS / 2; i < ROWS; i++)
        link_one();
    ck_assert_uint_gt(hnsw.linked_in_bulk, 0);
    while (hnsw_edges_refresh(&hnsw, scratch))
        ck_assert_uint_eq(hnsw.calibrated_at, 0);
    ck_assert_uint_eq(hnsw.calibrated_at, ROWS);
    tear_down();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("group");
    TCase *tcase = tcase_create("group");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_is_near_is_found);
    tcase_add_test(tcase, codes_that_changed_are_measured_again);
    tcase_add_loop_test(tcase, a_slot_with_another_code_is_walked_for, 0, 2);
    tcase_add_test(tcase, a_slot_in_two_cells_is_a_candidate_once);
    tcase_add_test(tcase, a_group_whose_slots_others_took_is_given_up);
    tcase_add_test(tcase, who_finds_no_place_for_a_group_walks);
    tcase_add_test(tcase, a_batch_may_come_to_nothing);
    tcase_add_test(tcase, an_ef_that_was_set_in_a_load_is_set_again_after_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
