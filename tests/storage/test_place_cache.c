/* Where records lie, as one reader found it and the next may believe. */
#include "storage/place_cache.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>

static struct place_cache_pool pool;
static char bytes[1 << 20]; /* whose addresses stand for records */

static void set_up(void) {
    place_cache_pool_init(&pool);
}

static void tear_down(void) {
    place_cache_pool_free(&pool);
}

static struct place_cache *take(size_t snapshot, uint64_t map, uint64_t blocks, uint64_t rows) {
    const struct place_cache_source source = {.snapshot = snapshot, .map = map};
    const uint64_t records[PLACE_TABLES] = {[PLACE_BLOCKS] = blocks, [PLACE_ROWS] = rows};
    struct place_cache *cache = place_cache_take(&pool, &source, records);
    ck_assert_ptr_nonnull(cache);
    return cache;
}

static void put(struct place_cache *cache, enum place_table table, uint16_t number, uint32_t record,
                size_t at) {
    const MDB_val value = {.mv_size = at + 1, .mv_data = bytes + at};
    place_cache_prefetch(cache, table, number, record); /* changes nothing */
    place_cache_put(cache, table, number, record, &value);
}

/* 1: it is there, and right; 0: it is not known. */
static int has(const struct place_cache *cache, enum place_table table, uint16_t number,
               uint32_t record, size_t at) {
    MDB_val value;
    if (!place_cache_find(cache, table, number, record, &value))
        return 0;
    ck_assert_ptr_eq(value.mv_data, bytes + at);
    ck_assert_uint_eq(value.mv_size, at + 1);
    return 1;
}

START_TEST(what_one_reader_found_the_next_of_the_snapshot_knows) {
    struct place_cache *cache = take(7, 0, 100, 100);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 1, 5, 0), 0);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 0, 0, 0), 0);
    put(cache, PLACE_BLOCKS, 1, 5, 40);
    put(cache, PLACE_BLOCKS, 0, 0, 41); /* the key that is nearest to that of an empty place */
    place_cache_give(&pool, cache);
    cache = take(7, 0, 100, 100);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 1, 5, 40), 1);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 0, 0, 41), 1);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 2, 5, 0), 0);
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 1, 6, 0), 0);
    place_cache_give(&pool, cache);
}
END_TEST

START_TEST(a_row_is_no_block) {
    struct place_cache *cache = take(7, 0, 100, 100);
    put(cache, PLACE_BLOCKS, 0, 5, 40);
    ck_assert_int_eq(has(cache, PLACE_ROWS, 0, 5, 0), 0);
    put(cache, PLACE_ROWS, 0, 5, 50);
    put(cache, PLACE_ROWS, 0, 127, 51); /* the last place of the last table */
    ck_assert_int_eq(has(cache, PLACE_BLOCKS, 0, 5, 40), 1);
    ck_assert_int_eq(has(cache, PLACE_ROWS, 0, 5, 50), 1);
    ck_assert_int_eq(has(cache, PLACE_ROWS, 0, 127, 51), 1);
    place_cache_give(&pool, cache);
}
END_TEST

static const struct {
    size_t snapshot;
    uint64_t map;
    uint64_t blocks, rows;
} others[] = {{8, 0, 100, 100}, {6, 0, 100, 100},  {7, 1, 100, 100},
              {8, 0, 5000, 1},  {8, 0, 100, 1000}, {8, 0, 1, 1}};

static int known(const struct place_cache *cache) {
    int count = 0;
    for (uint32_t record = 0; record < 100; record++)
        count += has(cache, PLACE_BLOCKS, 0, record, record) +
                 has(cache, PLACE_ROWS, 0, record, 1000 + record);
    return count;
}

static void fill(struct place_cache *cache) {
    for (uint32_t record = 0; record < 100; record++) {
        put(cache, PLACE_BLOCKS, 0, record, record);
        put(cache, PLACE_ROWS, 0, record, 1000 + record);
    }
}

START_TEST(another_snapshot_or_map_begins_with_nothing) {
    struct place_cache *cache = take(7, 0, 100, 100);
    fill(cache);
    ck_assert_int_eq(known(cache), 200);
    place_cache_give(&pool, cache);
    cache = take(others[_i].snapshot, others[_i].map, others[_i].blocks, others[_i].rows);
    ck_assert_int_eq(known(cache), 0);
    place_cache_give(&pool, cache);
}
END_TEST

/* A cache's generations are counted in 16 bits. What is asserted is asserted once: libcheck reports
 * each assertion over a pipe. */
START_TEST(snapshots_of_long_ago_are_forgotten_too) {
    enum {
        SNAPSHOTS = 2 * 65536
    };
    const uint64_t records[PLACE_TABLES] = {100, 100};
    struct place_cache *cache = take(1, 0, 100, 100);
    size_t remembered = 0;
    fill(cache);
    place_cache_give(&pool, cache);
    for (size_t snapshot = 2; snapshot < SNAPSHOTS; snapshot++) {
        const struct place_cache_source source = {.snapshot = snapshot};
        MDB_val value;
        cache = place_cache_take(&pool, &source, records);
        remembered += place_cache_find(cache, PLACE_BLOCKS, 0, 7, &value);
        remembered += place_cache_find(cache, PLACE_ROWS, 0, 7, &value);
        place_cache_give(&pool, cache);
    }
    ck_assert_uint_eq(remembered, 0);
    cache = take(SNAPSHOTS, 0, 100, 100);
    fill(cache);
    ck_assert_int_eq(known(cache), 200);
    place_cache_give(&pool, cache);
}
END_TEST

START_TEST(readers_at_once_have_caches_of_their_own) {
    struct place_cache *first = take(7, 0, 100, 0), *second = take(7, 0, 100, 0);
    ck_assert_ptr_ne(first, second);
    put(first, PLACE_BLOCKS, 0, 1, 1);
    ck_assert_int_eq(has(second, PLACE_BLOCKS, 0, 1, 1), 0);
    place_cache_give(&pool, first);
    place_cache_give(&pool, second);
    place_cache_give(&pool, NULL);
}
END_TEST

/* All records of a collection that is not too large, and never a wrong one of a larger one. */
START_TEST(as_many_records_are_known_as_there_is_room_for) {
    static const uint64_t counts[] = {1, 16, 17, 1000, 4096, 65536, 100000};
    static const uint64_t most[PLACE_TABLES] = {PLACE_CACHE_BLOCKS_MAX, PLACE_CACHE_ROWS_MAX};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (enum place_table table = 0; table < PLACE_TABLES; table++) {
            struct place_cache *cache = take(100 + i, table, counts[i], counts[i]);
            uint64_t found = 0;
            for (uint32_t record = 0; record < counts[i]; record++)
                put(cache, table, 3, record, record);
            for (uint32_t record = 0; record < counts[i]; record++) {
                MDB_val value;
                found += place_cache_find(cache, table, 3, record, &value) &&
                         value.mv_data == bytes + record && value.mv_size == record + 1;
            }
            ck_assert_uint_eq(found, counts[i] < most[table] ? counts[i] : most[table]);
            place_cache_give(&pool, cache);
        }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("place_cache");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, what_one_reader_found_the_next_of_the_snapshot_knows);
    tcase_add_test(tests, a_row_is_no_block);
    tcase_add_loop_test(tests, another_snapshot_or_map_begins_with_nothing, 0,
                        (int)(sizeof(others) / sizeof(others[0])));
    tcase_add_test(tests, snapshots_of_long_ago_are_forgotten_too);
    tcase_add_test(tests, readers_at_once_have_caches_of_their_own);
    tcase_add_test(tests, as_many_records_are_known_as_there_is_room_for);
    suite_add_tcase(suite, tests);
    return suite;
}
