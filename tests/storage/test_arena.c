/* Memory of a request: alignment, limits, growth. */
#include "storage/arena.h"

#include "tests/support/run_suite.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;

/* One assertion a buffer: libcheck reports each over a pipe. */
static bool is_filled(const unsigned char *bytes, size_t size, unsigned char with) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != with)
            return false;
    }
    return true;
}

static void setup(void) {
    arena_init(&arena, 64u << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

START_TEST(what_is_taken_is_aligned_and_apart) {
    enum {
        COUNT = 2000
    };
    static unsigned char *taken[COUNT];
    static size_t sizes[COUNT];
    srand(7);
    for (size_t i = 0; i < COUNT; i++) {
        sizes[i] = (size_t)rand() % (i % 50 == 0 ? 100000 : 200);
        taken[i] = arena_alloc(&arena, sizes[i]);
        ck_assert_ptr_nonnull(taken[i]);
        ck_assert_uint_eq((uintptr_t)taken[i] % alignof(max_align_t), 0);
        memset(taken[i], (int)(i % 251), sizes[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(is_filled(taken[i], sizes[i], (unsigned char)(i % 251)));
    }
}
END_TEST

/* Grown in random order, each buffer must still hold what was written to it. */
START_TEST(growing_keeps_the_content) {
    enum {
        BUFFERS = 8,
        ROUNDS = 400
    };
    unsigned char *buffers[BUFFERS] = {0};
    size_t sizes[BUFFERS] = {0};
    srand(11);
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = (size_t)rand() % BUFFERS;
        size_t grown = sizes[i] + (size_t)rand() % (sizes[i] + 64);
        buffers[i] = arena_grow(&arena, buffers[i], sizes[i], grown > 60000 ? sizes[i] : grown);
        ck_assert_ptr_nonnull(buffers[i]);
        if (grown <= 60000) {
            memset(buffers[i] + sizes[i], (int)i + 1, grown - sizes[i]);
            sizes[i] = grown;
        }
        ck_assert(is_filled(buffers[i], sizes[i], (unsigned char)(i + 1)));
    }
}
END_TEST

START_TEST(a_large_buffer_grows_without_leaving_copies) {
    size_t size = 1 << 20;
    char *buffer = arena_alloc(&arena, size);
    ck_assert_ptr_nonnull(buffer);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 10));
    for (; size < 32u << 20; size *= 2) {
        buffer = arena_grow(&arena, buffer, size, size * 2);
        ck_assert_ptr_nonnull(buffer);
    }
    ck_assert_uint_lt(arena.total, (32u << 20) + (1u << 20));
}
END_TEST

START_TEST(the_limit_is_never_passed) {
    arena.limit = 100000;
    size_t taken = 0;
    while (arena_alloc(&arena, 1000))
        taken += 1000;
    ck_assert_uint_le(arena.total, 100000);
    ck_assert_uint_gt(taken, 80000);
    ck_assert_ptr_null(arena_alloc(&arena, 50000));
    /* What is small may still fit. */
    ck_assert_uint_le(arena.total, arena.limit);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused) {
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 8));
    void *small = arena_alloc(&arena, 100);
    ck_assert_ptr_null(arena_grow(&arena, small, 100, SIZE_MAX));
    ck_assert_ptr_null(arena_grow(&arena, small, 100, SIZE_MAX / 2));
}
END_TEST

START_TEST(the_limit_says_that_it_refused) {
    arena.limit = 1 << 20;
    ck_assert_ptr_null(arena_alloc(&arena, 2 << 20));
    ck_assert(arena.is_at_limit);
    void *large = arena_alloc(&arena, 900000);
    ck_assert(large && !arena.is_at_limit);
    ck_assert_ptr_null(arena_grow(&arena, large, 900000, 2 << 20));
    ck_assert(arena.is_at_limit);
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert(arena.is_at_limit);
}
END_TEST

/* What the system refuses, it may give another time. */
START_TEST(the_system_that_refuses_is_told_apart) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their malloc() ends us */
    void *large = arena_alloc(&arena, 900000);
    arena.limit = SIZE_MAX;
    arena.is_at_limit = true;
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX / 4));
    ck_assert(!arena.is_at_limit);
    arena.is_at_limit = true;
    ck_assert_ptr_null(arena_grow(&arena, large, 900000, SIZE_MAX / 4));
    ck_assert(!arena.is_at_limit);
#endif
}
END_TEST

START_TEST(a_text_gets_its_nul) {
    char *text = arena_text(&arena, "abcdef", 3);
    ck_assert_str_eq(text, "abc");
    ck_assert_str_eq(arena_text(&arena, NULL, 0), "");
}
END_TEST

START_TEST(an_arena_can_be_used_again_after_it_was_freed) {
    arena_alloc(&arena, 100000);
    arena_free(&arena);
    ck_assert_uint_eq(arena.total, 0);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 100));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_taken_is_aligned_and_apart);
    tcase_add_test(tcase, growing_keeps_the_content);
    tcase_add_test(tcase, a_large_buffer_grows_without_leaving_copies);
    tcase_add_test(tcase, the_limit_is_never_passed);
    tcase_add_test(tcase, sizes_that_overflow_are_refused);
    tcase_add_test(tcase, the_limit_says_that_it_refused);
    tcase_add_test(tcase, the_system_that_refuses_is_told_apart);
    tcase_add_test(tcase, a_text_gets_its_nul);
    tcase_add_test(tcase, an_arena_can_be_used_again_after_it_was_freed);
    suite_add_tcase(suite, tcase);
    return suite;
}
