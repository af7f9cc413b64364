#include "server/job.h"
#include "server/job_ring.h"
#include "server/job_stack.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum {
    JOBS = 20000,
    TAKERS = 4,
};

static struct job *jobs;
static struct job_ring ring;
static struct job_stack stack;
static atomic_uint *taken; /* how often each job was taken */
static atomic_size_t taken_count;

static void set_up(void) {
    jobs = calloc(JOBS, sizeof(*jobs));
    taken = calloc(JOBS, sizeof(*taken));
    ck_assert(jobs && taken);
}

static void tear_down(void) {
    free(jobs);
    free(taken);
    job_ring_free(&ring);
}

static void open_ring(size_t length_max) {
    ck_assert_int_eq(job_ring_init(&ring, length_max, NULL), STATUS_OK);
}

static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 1000, 1024};

START_TEST(holds_exactly_as_many_as_it_was_made_for) {
    size_t length = lengths[_i];
    open_ring(length);
    for (int round = 0; round < 3; round++) { /* so that positions pass the end of the cells */
        ck_assert_ptr_null(job_ring_take(&ring));
        ck_assert(job_ring_is_empty(&ring));
        for (size_t i = 0; i < length; i++) {
            ck_assert(job_ring_put(&ring, &jobs[i]));
            ck_assert(!job_ring_is_empty(&ring));
            ck_assert_uint_eq(job_ring_length(&ring), i + 1);
        }
        ck_assert(!job_ring_put(&ring, &jobs[length]));
        for (size_t i = 0; i < length; i++)
            ck_assert_ptr_eq(job_ring_take(&ring), &jobs[i]);
        ck_assert_ptr_null(job_ring_take(&ring));
    }
}
END_TEST

static void *take_many(void *argument) {
    (void)argument;
    size_t last = 0;
    while (atomic_load(&taken_count) < JOBS) {
        struct job *job = job_ring_take(&ring);
        if (!job) {
            sched_yield();
            continue;
        }
        size_t number = (size_t)(job - jobs);
        ck_assert(number >= last); /* each taker sees them in order */
        last = number;
        atomic_fetch_add(&taken[number], 1);
        atomic_fetch_add(&taken_count, 1);
    }
    return NULL;
}

START_TEST(every_job_is_taken_once_by_one_of_many) {
    pthread_t threads[TAKERS];
    open_ring(lengths[_i]);
    for (size_t i = 0; i < TAKERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_many, NULL), 0);
    for (size_t i = 0; i < JOBS; i++)
        while (!job_ring_put(&ring, &jobs[i]))
            sched_yield();
    for (size_t i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert_uint_eq(taken[i], 1);
    ck_assert_uint_eq(job_ring_length(&ring), 0);
}
END_TEST

START_TEST(a_stack_gives_back_all_in_the_order_they_came) {
    ck_assert_ptr_null(job_stack_take_all(&stack));
    ck_assert(job_stack_put(&stack, &jobs[0]));
    ck_assert(!job_stack_is_empty(&stack));
    for (size_t i = 1; i < 100; i++)
        ck_assert(!job_stack_put(&stack, &jobs[i]));
    struct job *job = job_stack_take_all(&stack);
    for (size_t i = 0; i < 100; i++, job = job->next)
        ck_assert_ptr_eq(job, &jobs[i]);
    ck_assert_ptr_null(job);
    ck_assert(job_stack_is_empty(&stack));
}
END_TEST

static atomic_size_t told_empty;

static void *put_many(void *argument) {
    struct job *first = argument;
    for (size_t i = 0; i < JOBS / TAKERS; i++)
        if (job_stack_put(&stack, first + i))
            atomic_fetch_add(&told_empty, 1);
    return NULL;
}

/* A taker that looks only when somebody was told that the stack had been empty misses nothing. */
START_TEST(whoever_finds_the_stack_empty_is_told) {
    pthread_t threads[TAKERS];
    for (size_t i = 0; i < TAKERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_many, jobs + i * (JOBS / TAKERS)),
                         0);
    size_t count = 0, seen = 0;
    while (count < JOBS) {
        while (atomic_load(&told_empty) == seen)
            sched_yield();
        seen = atomic_load(&told_empty);
        for (struct job *job = job_stack_take_all(&stack); job; job = job->next) {
            atomic_fetch_add(&taken[job - jobs], 1);
            count++;
        }
    }
    for (size_t i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert_uint_eq(taken[i], 1);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("job_ring");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, holds_exactly_as_many_as_it_was_made_for, 0,
                        (int)(sizeof(lengths) / sizeof(lengths[0])));
    tcase_add_loop_test(tests, every_job_is_taken_once_by_one_of_many, 0,
                        (int)(sizeof(lengths) / sizeof(lengths[0])));
    tcase_add_test(tests, a_stack_gives_back_all_in_the_order_they_came);
    tcase_add_test(tests, whoever_finds_the_stack_empty_is_told);
    suite_add_tcase(suite, tests);
    return suite;
}
