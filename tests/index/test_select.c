/* The choice of links, against the heuristic written out: for each candidate in turn, all that were
 * chosen before. */
#include "index/hnsw.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIMENSION = 24,
    CLUSTER = 40,                /* candidates near one another */
    OWNER = HNSW_CANDIDATES_MAX, /* the slot whose links are chosen */
};

static struct store store;
static struct code_space space;
static struct hnsw hnsw;
static struct index_scratch *scratch;
static struct hit hits[HNSW_CANDIDATES_MAX];

static float uniform(void) {
    return (float)rand() / (float)RAND_MAX - 0.5f;
}

/* Clusters of uneven width around the owner; every tenth candidate equals the one before it, and
 * some the owner: as near to one another as to it. */
static void fill(void) {
    float vector[DIMENSION], center[DIMENSION] = {0};
    for (uint32_t slot = 0; slot <= OWNER; slot++) {
        for (size_t i = 0; i < DIMENSION && slot % CLUSTER == 0; i++)
            center[i] = slot == 0 ? 0 : 2 * uniform();
        for (size_t i = 0; i < DIMENSION && slot % 10 != 9; i++)
            vector[i] = center[i] + uniform() * (float)(1 + slot % 3) / 3;
        float error;
        struct code_row row = {
            .code = store_code(&store, slot), .meta = store_meta(&store, slot), .error = &error};
        codes_encode(&space, vector, &scratch->query, &row);
    }
    for (uint32_t slot = 5; slot < OWNER; slot += 97) {
        memcpy(store_code(&store, slot), store_code(&store, OWNER), space.width);
        *store_meta(&store, slot) = *store_meta(&store, OWNER);
    }
}

static void set_up(enum distance distance) {
    struct error error = {0};
    ck_assert(codes_space_init(&space, distance, DIMENSION));
    const struct store_layout layout = {.code_bytes = space.width, .link_count = 32};
    ck_assert(store_init(&store, &layout));
    ck_assert(store_reserve(&store, OWNER + 1));
    hnsw_init(&hnsw, &store, &space);
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    ck_assert(scratch_reserve(scratch, OWNER + 1, space.width));
    srand(3);
    fill();
}

static void tear_down(void) {
    index_scratch_free(scratch);
    hnsw_free(&hnsw);
    store_free(&store);
    codes_space_free(&space);
}

static float between(uint32_t from, uint32_t to) {
    codes_query_row(&space, store_code(&store, from), *store_meta(&store, from), &scratch->node);
    return codes_distance(&space, &scratch->node, store_code(&store, to), *store_meta(&store, to));
}

static int by_distance(const void *a, const void *b) {
    const struct hit *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->slot < y->slot ? -1 : 1;
}

/* The first `count` slots, nearest first. */
static struct hnsw_candidates candidates_of(uint32_t count) {
    for (uint32_t slot = 0; slot < count; slot++)
        hits[slot] = (struct hit){.slot = slot, .distance = between(OWNER, slot)};
    qsort(hits, count, sizeof(hits[0]), by_distance);
    return (struct hnsw_candidates){.hits = hits, .count = count};
}

static bool is_covered(uint32_t candidate, const bool *is_chosen) {
    for (uint32_t i = 0; i < candidate; i++) {
        if (is_chosen[i] && between(hits[i].slot, hits[candidate].slot) <= hits[candidate].distance)
            return true;
    }
    return false;
}

START_TEST(chooses_what_the_heuristic_does) {
    static const uint32_t counts[] = {0, 1, 2, 63, 64, 65, 128, 200, HNSW_CANDIDATES_MAX};
    static const size_t maxima[] = {0, 1, 2, 16, 32, HNSW_PLACES_MAX};
    set_up((enum distance)_i);
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        const struct hnsw_candidates candidates = candidates_of(counts[c]);
        for (size_t m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++) {
            bool found[HNSW_CANDIDATES_MAX], expected[HNSW_CANDIDATES_MAX] = {false};
            size_t wanted = 0;
            memset(found, 1, sizeof(found));
            for (uint32_t i = 0; i < counts[c] && wanted < maxima[m]; i++) {
                expected[i] = !is_covered(i, expected);
                wanted += expected[i];
            }
            ck_assert_uint_eq(hnsw_select(&hnsw, scratch, &candidates, maxima[m], found), wanted);
            for (uint32_t i = 0; i < counts[c]; i++)
                ck_assert_msg(found[i] == expected[i], "%u of %u, at most %zu", i, counts[c],
                              maxima[m]);
        }
    }
    tear_down();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("select");
    TCase *tests = tcase_create("select");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, chooses_what_the_heuristic_does, 0, DISTANCE_COUNT);
    suite_add_tcase(suite, tests);
    return suite;
}
