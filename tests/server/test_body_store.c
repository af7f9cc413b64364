#include "server/body_store.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

enum {
    MIB = 1024 * 1024,
    ROUNDS = 20000,
};

static struct body_store store;

static void tear_down(void) {
    body_store_free(&store);
}

START_TEST(gives_a_block_that_came_back_to_the_next_that_it_fits) {
    struct body_block *block = body_store_take(&store, 10 * MIB);
    ck_assert_uint_ge(block->size, 10 * MIB);
    memset(block->bytes, 1, block->size); /* all of it is there */
    body_store_give(&store, block);
    ck_assert_uint_eq(store.kept_bytes, block->size);
    ck_assert_ptr_eq(body_store_take(&store, 9 * MIB), block);
    ck_assert_uint_eq(store.kept_bytes, 0);
    body_store_give(&store, block);
}
END_TEST

START_TEST(does_not_spend_a_large_block_on_a_small_body) {
    struct body_block *large = body_store_take(&store, 32 * MIB);
    body_store_give(&store, large);
    struct body_block *small = body_store_take(&store, BODY_STORE_BLOCK_MIN);
    ck_assert_ptr_ne(small, large);
    ck_assert_uint_eq(small->size, BODY_STORE_ROUND);
    body_store_give(&store, small);
    struct body_block *larger = body_store_take(&store, 33 * MIB);
    ck_assert_ptr_ne(larger, large);
    body_store_give(&store, larger);
}
END_TEST

START_TEST(frees_what_is_too_much_one_by_one) {
    struct body_block *blocks[5];
    store.kept_max = 64 * MIB;
    for (int i = 0; i < 5; i++)
        blocks[i] = body_store_take(&store, 16 * MIB);
    for (int i = 0; i < 5; i++)
        body_store_give(&store, blocks[i]);
    ck_assert_uint_eq(store.kept_bytes, 80 * MIB);
    body_store_trim(&store);
    ck_assert_uint_eq(store.kept_bytes, 64 * MIB);
    body_store_trim(&store);
    ck_assert_uint_eq(store.kept_bytes, 64 * MIB);
}
END_TEST

START_TEST(a_size_that_no_memory_has_is_refused) {
    ck_assert_ptr_null(body_store_take(&store, SIZE_MAX));
    ck_assert_ptr_null(body_store_take(&store, SIZE_MAX / 2 + 1));
}
END_TEST

START_TEST(frees_what_it_keeps_one_by_one_after_a_while_without_use) {
    struct body_block *first = body_store_take(&store, MIB), *second = body_store_take(&store, MIB);
    body_store_give(&store, first);
    body_store_give(&store, second);
    store.kept_max = 64 * MIB;
    for (int i = 0; i < BODY_STORE_IDLE_TICKS; i++)
        body_store_trim(&store);
    ck_assert_uint_eq(store.kept_bytes, 2 * MIB);
    body_store_trim(&store);
    ck_assert_uint_eq(store.kept_bytes, MIB);
    body_store_trim(&store);
    ck_assert_uint_eq(store.kept_bytes, 0);
    body_store_trim(&store);
}
END_TEST

static _Atomic(struct body_block *) handed[2];

static void *give_back(void *argument) {
    _Atomic(struct body_block *) *mine = argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct body_block *block;
        while (!(block = atomic_exchange(mine, NULL)))
            sched_yield();
        block->bytes[0] = 1; /* ours alone until it is given back */
        body_store_give(&store, block);
    }
    return NULL;
}

START_TEST(takes_blocks_back_from_several_threads) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, give_back, &handed[i]), 0);
    for (int i = 0; i < 2 * ROUNDS; i++) {
        struct body_block *block = body_store_take(&store, MIB);
        block->bytes[0] = 2;
        while (atomic_load(&handed[i % 2]))
            sched_yield();
        atomic_store(&handed[i % 2], block);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(store.kept_bytes, 5 * MIB); /* no more than were out at a time */
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("body_store");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, NULL, tear_down);
    tcase_add_test(tests, gives_a_block_that_came_back_to_the_next_that_it_fits);
    tcase_add_test(tests, does_not_spend_a_large_block_on_a_small_body);
    tcase_add_test(tests, frees_what_is_too_much_one_by_one);
    tcase_add_test(tests, a_size_that_no_memory_has_is_refused);
    tcase_add_test(tests, frees_what_it_keeps_one_by_one_after_a_while_without_use);
    tcase_add_test(tests, takes_blocks_back_from_several_threads);
    suite_add_tcase(suite, tests);
    return suite;
}
