/* Lists of hits, against a general sort. */
#include "index/hits.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    HITS_MAX = 5000
};

static const size_t counts[] = {0, 1, 2, 3, 63, 64, 65, 250, 1064, 2048, 2049, HITS_MAX};

enum {
    COUNTS = sizeof(counts) / sizeof(counts[0])
};

static float even(size_t i) {
    (void)i;
    return (float)rand() / (float)RAND_MAX;
}

static float ties(size_t i) {
    (void)i;
    return (float)(rand() % 7);
}

static float equal(size_t i) {
    (void)i;
    return -2.5f;
}

static float one_far(size_t i) {
    return i == 40 ? 1e30f : even(i);
}

static float infinite(size_t i) {
    return i % 3 == 0 ? -INFINITY : i % 3 == 1 ? INFINITY : even(i);
}

static float falling(size_t i) {
    return -(float)i;
}

/* How distances may lie. */
static const struct {
    float (*distance)(size_t i);
    bool is_even; /* so that a sample tells how many lie within a limit */
} kinds[] = {{even, true},     {ties, false},     {equal, false},
             {one_far, false}, {infinite, false}, {falling, true}};

enum {
    KINDS = sizeof(kinds) / sizeof(kinds[0])
};

static struct hit hits[HITS_MAX], before[HITS_MAX];

static void fill(size_t count, float (*distance)(size_t i)) {
    for (size_t i = 0; i < count; i++)
        hits[i] =
            (struct hit){.slot = (uint32_t)(i * 2654435761U % 1000003), .distance = distance(i)};
    memcpy(before, hits, count * sizeof(hits[0]));
}

static int by_distance(const void *left, const void *right) {
    const struct hit *a = left, *b = right;
    if (a->distance < b->distance || a->distance > b->distance)
        return a->distance < b->distance ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

START_TEST(hits_are_sorted_by_distance_and_slot) {
    for (size_t i = 0; i < COUNTS; i++) {
        fill(counts[i], kinds[_i].distance);
        hits_sort(hits, counts[i]);
        qsort(before, counts[i], sizeof(before[0]), by_distance);
        for (size_t j = 0; j < counts[i]; j++) {
            ck_assert_uint_eq(hits[j].slot, before[j].slot);
            ck_assert_int_eq(by_distance(&hits[j], &before[j]), 0);
        }
    }
}
END_TEST

/* What is kept is all that lies within the limit, or the very nearest where too much does. */
static void check_kept(size_t count, size_t kept, float limit) {
    qsort(before, count, sizeof(before[0]), by_distance);
    qsort(hits, kept, sizeof(hits[0]), by_distance);
    for (size_t i = 0; i < kept; i++) {
        ck_assert_uint_eq(hits[i].slot, before[i].slot);
        ck_assert(hits[i].distance <= limit);
    }
}

START_TEST(the_nearest_are_kept) {
    for (size_t i = 0; i < COUNTS; i++) {
        for (size_t max = 1; max <= HITS_MAX; max *= 5) {
            float limit = NAN;
            fill(counts[i], kinds[_i].distance);
            size_t kept = hits_thin_out(hits, counts[i], max, &limit);
            if (counts[i] <= max) {
                ck_assert_uint_eq(kept, counts[i]);
                ck_assert(isnan(limit));
                continue;
            }
            ck_assert_uint_ge(kept, 1);
            ck_assert_uint_le(kept, 2 * max);
            check_kept(counts[i], kept, limit);
            if (kinds[_i].is_even && max >= 100)
                ck_assert_uint_ge(kept, max / 2);
        }
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("hits");
    TCase *tcase = tcase_create("hits");
    tcase_add_loop_test(tcase, hits_are_sorted_by_distance_and_slot, 0, KINDS);
    tcase_add_loop_test(tcase, the_nearest_are_kept, 0, KINDS);
    suite_add_tcase(suite, tcase);
    return suite;
}
