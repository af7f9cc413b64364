/* Where blocks of vectors lie, as one reader found it and the next may believe. */
#include "storage/vector_cache.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>

static struct vector_cache_pool pool;
static char bytes[1 << 20]; /* whose addresses stand for blocks */

static void set_up(void) {
    vector_cache_pool_init(&pool);
}

static void tear_down(void) {
    vector_cache_pool_free(&pool);
}

static struct vector_cache *take(size_t snapshot, uint64_t map, uint64_t blocks) {
    const struct vector_cache_source source = {.snapshot = snapshot, .map = map};
    struct vector_cache *cache = vector_cache_take(&pool, &source, blocks);
    ck_assert_ptr_nonnull(cache);
    return cache;
}

static void put(struct vector_cache *cache, uint16_t number, uint32_t block, size_t at) {
    const MDB_val value = {.mv_size = at + 1, .mv_data = bytes + at};
    vector_cache_put(cache, number, block, &value);
}

/* 1: it is there, and right; 0: it is not known. */
static int has(const struct vector_cache *cache, uint16_t number, uint32_t block, size_t at) {
    MDB_val value;
    if (!vector_cache_find(cache, number, block, &value))
        return 0;
    ck_assert_ptr_eq(value.mv_data, bytes + at);
    ck_assert_uint_eq(value.mv_size, at + 1);
    return 1;
}

START_TEST(what_one_reader_found_the_next_of_the_snapshot_knows) {
    struct vector_cache *cache = take(7, 0, 100);
    ck_assert_int_eq(has(cache, 1, 5, 0), 0);
    put(cache, 1, 5, 40);
    put(cache, 0, 0, 41); /* the key that is nearest to that of an empty place */
    vector_cache_give(&pool, cache);
    cache = take(7, 0, 100);
    ck_assert_int_eq(has(cache, 1, 5, 40), 1);
    ck_assert_int_eq(has(cache, 0, 0, 41), 1);
    ck_assert_int_eq(has(cache, 2, 5, 0), 0);
    ck_assert_int_eq(has(cache, 1, 6, 0), 0);
    vector_cache_give(&pool, cache);
}
END_TEST

static const struct {
    size_t snapshot;
    uint64_t map;
    uint64_t blocks;
} others[] = {{8, 0, 100}, {6, 0, 100}, {7, 1, 100}, {8, 0, 5000}, {8, 0, 1}};

START_TEST(another_snapshot_or_map_begins_with_nothing) {
    struct vector_cache *cache = take(7, 0, 100);
    for (uint32_t block = 0; block < 100; block++)
        put(cache, 0, block, block);
    vector_cache_give(&pool, cache);
    cache = take(others[_i].snapshot, others[_i].map, others[_i].blocks);
    for (uint32_t block = 0; block < 100; block++)
        ck_assert_int_eq(has(cache, 0, block, block), 0);
    vector_cache_give(&pool, cache);
}
END_TEST

START_TEST(readers_at_once_have_caches_of_their_own) {
    struct vector_cache *first = take(7, 0, 100), *second = take(7, 0, 100);
    ck_assert_ptr_ne(first, second);
    put(first, 0, 1, 1);
    ck_assert_int_eq(has(second, 0, 1, 1), 0);
    vector_cache_give(&pool, first);
    vector_cache_give(&pool, second);
    vector_cache_give(&pool, NULL);
}
END_TEST

/* All blocks of a collection that is not too large, and never a wrong one of a larger one. */
START_TEST(as_many_blocks_are_known_as_there_is_room_for) {
    static const uint64_t counts[] = {1, 16, 17, 1000, VECTOR_CACHE_PLACES_MAX, 100000};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct vector_cache *cache = take(100 + i, 0, counts[i]);
        uint64_t known = 0;
        for (uint32_t block = 0; block < counts[i]; block++)
            put(cache, 3, block, block);
        for (uint32_t block = 0; block < counts[i]; block++)
            known += (uint64_t)has(cache, 3, block, block);
        ck_assert_uint_eq(known, counts[i] < VECTOR_CACHE_PLACES_MAX ? counts[i]
                                                                     : VECTOR_CACHE_PLACES_MAX);
        vector_cache_give(&pool, cache);
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("vector_cache");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, what_one_reader_found_the_next_of_the_snapshot_knows);
    tcase_add_loop_test(tests, another_snapshot_or_map_begins_with_nothing, 0,
                        (int)(sizeof(others) / sizeof(others[0])));
    tcase_add_test(tests, readers_at_once_have_caches_of_their_own);
    tcase_add_test(tests, as_many_blocks_are_known_as_there_is_room_for);
    suite_add_tcase(suite, tests);
    return suite;
}
