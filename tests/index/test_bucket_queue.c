/* The queue of a walk against a list that is searched from end to end. */
#include "index/bucket_queue.h"

#include "tests/support/run_suite.h"

#include <stdlib.h>

enum {
    ENTRIES = 3000,
    BURST_MAX = 40,
    MANY = 100000, /* entries: many times what a queue has room for */
};

struct entry {
    float distance;
    bool is_gone;
};

static float uniform(void) {
    return (float)rand() / (float)RAND_MAX;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void push(struct bucket_queue *queue, uint32_t slot, float distance) {
    bucket_queue_push(queue, &slot, &distance, 1);
}

/* The distance of the ef-th nearest of all that came. */
static float nth(const struct entry *entries, size_t count, size_t ef) {
    float sorted[ENTRIES];
    for (size_t i = 0; i < count; i++)
        sorted[i] = entries[i].distance;
    qsort(sorted, count, sizeof(sorted[0]), by_value);
    return count < ef ? INFINITY : sorted[ef - 1];
}

/* Entries come in bursts, ever nearer and far beyond the range too, and leave one by one: always
 * one of the nearest bucket, never one that the ef nearest exclude, and all of those in the end. */
START_TEST(gives_back_what_is_nearest) {
    struct entry *entries = calloc(ENTRIES, sizeof(*entries));
    struct bucket_queue queue = {0};
    size_t count = 0, ef = (size_t)(5 + _i * 23);
    uint32_t slot;
    srand((unsigned)_i);
    ck_assert(bucket_queue_reserve(&queue, ef));
    bucket_queue_begin(&queue, ef, 1, 2);
    while (count < ENTRIES) {
        uint32_t slots[BURST_MAX];
        float distances[BURST_MAX];
        size_t burst = 0, wanted = (size_t)rand() % BURST_MAX;
        for (; burst < wanted && count < ENTRIES; burst++, count++) {
            slots[burst] = (uint32_t)count;
            distances[burst] = uniform() * 3 - (float)count / 500; /* down to -6 */
            entries[count].distance = distances[burst];
        }
        bucket_queue_push(&queue, slots, distances, burst);
        ck_assert_int_eq(bucket_queue_is_full(&queue), bucket_queue_limit(&queue) < INFINITY);
        if (!bucket_queue_pop(&queue, &slot))
            continue;
        ck_assert(!entries[slot].is_gone);
        entries[slot].is_gone = true;
        for (size_t i = 0; i < count; i++)
            ck_assert(entries[i].is_gone || entries[i].distance >= bucket_queue_limit(&queue) ||
                      entries[i].distance >= entries[slot].distance - 1.01f * queue.width ||
                      entries[slot].distance >= 2);
    }
    while (bucket_queue_pop(&queue, &slot)) {
        ck_assert(!entries[slot].is_gone);
        entries[slot].is_gone = true;
    }
    float last = nth(entries, count, ef);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(entries[i].is_gone || entries[i].distance >= last, "entry %zu at %g of %g", i,
                      (double)entries[i].distance, (double)last);
    bucket_queue_free(&queue);
    free(entries);
}
END_TEST

START_TEST(the_last_in_a_bucket_leaves_first) {
    struct bucket_queue queue = {0};
    uint32_t slot;
    ck_assert(bucket_queue_reserve(&queue, 10));
    bucket_queue_begin(&queue, 10, 5, 5);
    for (uint32_t i = 0; i < 4; i++)
        push(&queue, i, 5);
    for (uint32_t i = 4; i-- > 0;) {
        ck_assert(bucket_queue_pop(&queue, &slot));
        ck_assert_uint_eq(slot, i);
    }
    ck_assert(!bucket_queue_pop(&queue, &slot));
    bucket_queue_free(&queue);
}
END_TEST

/* Thousands in one bucket: what finds no room is refused, and nothing else breaks. */
START_TEST(memory_is_bounded) {
    struct bucket_queue queue = {0};
    uint32_t slot, popped = 0;
    ck_assert(bucket_queue_reserve(&queue, 10));
    bucket_queue_begin(&queue, 10, 0, 1);
    for (uint32_t i = 0; i < MANY; i++)
        push(&queue, i, 0.5f);
    while (bucket_queue_pop(&queue, &slot))
        popped++;
    ck_assert_uint_eq(popped, queue.capacity);
    bucket_queue_free(&queue);
}
END_TEST

/* Ever nearer ones: what they close makes room for them. */
START_TEST(room_of_what_is_too_far_is_used_again) {
    const size_t ef = 10;
    struct bucket_queue queue = {0};
    uint32_t slot, popped = 0;
    ck_assert(bucket_queue_reserve(&queue, ef));
    bucket_queue_begin(&queue, ef, 0, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        push(&queue, i, 1 - (float)i / MANY);
        if (i % 100 == 99) {
            ck_assert(bucket_queue_pop(&queue, &slot));
            ck_assert_uint_eq(slot, i);
        }
    }
    for (; bucket_queue_pop(&queue, &slot); popped++)
        ck_assert_uint_ge(slot, MANY - 2 * MANY / BUCKET_QUEUE_BUCKETS);
    ck_assert_uint_ge(popped, ef - 1);
    bucket_queue_free(&queue);
}
END_TEST

START_TEST(the_range_widens_to_anything) {
    static const float distances[] = {1, -1e3f, -1e9f, -1e30f, -3e38f, 3e38f};
    struct bucket_queue queue = {0};
    uint32_t slot, popped = 0;
    ck_assert(bucket_queue_reserve(&queue, 10));
    bucket_queue_begin(&queue, 10, 0, 1);
    for (uint32_t i = 0; i < 6; i++)
        push(&queue, i, distances[i]);
    while (bucket_queue_pop(&queue, &slot))
        popped++;
    ck_assert_uint_eq(popped, 6);
    bucket_queue_free(&queue);
}
END_TEST

/* Whoever empties it gets few more than the ef nearest, though the range is such that all would
 * share a bucket; also where at first there was nothing that could be told apart. */
START_TEST(a_crowd_is_spread) {
    const size_t ef = 20;
    const float range = _i % 2 ? 1e12f : 1e5f;
    struct entry *entries = calloc(ENTRIES, sizeof(*entries));
    struct bucket_queue queue = {0};
    uint32_t slot, popped = 0;
    size_t equal = _i < 2 ? 0 : 500;
    ck_assert(bucket_queue_reserve(&queue, ef));
    bucket_queue_begin(&queue, ef, 0, range);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        entries[i].distance = i < equal ? range / 2 : uniform();
        push(&queue, i, entries[i].distance);
        if (i % 10 == 9 && bucket_queue_pop(&queue, &slot))
            entries[slot].is_gone = true;
    }
    while (bucket_queue_pop(&queue, &slot)) {
        entries[slot].is_gone = true;
        popped++;
    }
    float last = nth(entries, ENTRIES, ef);
    for (size_t i = 0; i < ENTRIES; i++)
        ck_assert(entries[i].is_gone || entries[i].distance >= last);
    ck_assert_uint_le(popped, 3 * ef);
    bucket_queue_free(&queue);
    free(entries);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("bucket_queue");
    TCase *tcase = tcase_create("bucket_queue");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, gives_back_what_is_nearest, 0, 12);
    tcase_add_test(tcase, the_last_in_a_bucket_leaves_first);
    tcase_add_test(tcase, memory_is_bounded);
    tcase_add_test(tcase, room_of_what_is_too_far_is_used_again);
    tcase_add_test(tcase, the_range_widens_to_anything);
    tcase_add_loop_test(tcase, a_crowd_is_spread, 0, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}
