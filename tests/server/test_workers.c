#include "server/workers.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    JOBS = 1000,
    QUEUE_MAX = 8,
};

static struct job *jobs; /* JOBS of them; their call and arena are not used */
static atomic_size_t run_count, release_count, wake_count;
static struct workers *workers;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: jobs do not end */

static void run(struct lane_hand *hand, struct job *job) {
    (void)hand;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    atomic_fetch_add(&run_count, 1);
    workers_return(workers, job);
}

static void release(struct job *job) {
    ck_assert_ptr_nonnull(job);
    atomic_fetch_add(&release_count, 1);
}

static void wake(void *context) {
    ck_assert_ptr_eq(context, &wake_count);
    atomic_fetch_add(&wake_count, 1);
}

static struct wait_set wait_set;
static struct lane_hand *hands[WORKERS_THREADS_MAX]; /* none: jobs need none here */
static atomic_uint_fast64_t served_key;
static atomic_size_t serve_count, run_before; /* jobs run before it was served first */

static void serve(struct lane_hand *hand, uint64_t key) {
    ck_assert_ptr_null(hand);
    served_key = key;
    if (serve_count == 0)
        run_before = run_count;
    atomic_fetch_add(&serve_count, 1);
}

static void start_with(void (*run_one)(struct lane_hand *hand, struct job *job), unsigned threads,
                       size_t queue_max) {
    jobs = calloc(JOBS, sizeof(*jobs));
    ck_assert_ptr_nonnull(jobs);
    ck_assert_int_eq(wait_set_open(&wait_set, NULL), STATUS_OK);
    ck_assert_int_eq(workers_create(&(struct workers_options){.threads = threads,
                                                              .queue_max = queue_max,
                                                              .sleep = &wait_set,
                                                              .hands = hands,
                                                              .run = run_one,
                                                              .serve = serve,
                                                              .release = release,
                                                              .wake = wake,
                                                              .context = &wake_count},
                                    &workers, NULL),
                     STATUS_OK);
}

static void start(unsigned threads, size_t queue_max) {
    start_with(run, threads, queue_max);
}

static void stop(void) {
    workers_stop(workers);
    while (workers_take_returned(workers))
        ;
    workers_free(workers);
    wait_set_close(&wait_set);
    free(jobs);
}

static size_t length_of(const struct job *list) {
    size_t length = 0;
    for (; list; list = list->next)
        length++;
    return length;
}

START_TEST(runs_every_job_once_and_returns_it) {
    start(4, JOBS);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert(workers_submit(workers, &jobs[i]));
    size_t returned = 0;
    while (returned < JOBS) {
        returned += length_of(workers_take_returned(workers));
        usleep(100);
    }
    ck_assert_uint_eq(returned, JOBS);
    ck_assert_uint_eq(run_count, JOBS);
    ck_assert_uint_ge(wake_count, 1);
    ck_assert_uint_le(wake_count, JOBS);
    stop();
}
END_TEST

START_TEST(one_worker_returns_jobs_in_the_order_they_came) {
    start(1, JOBS);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert(workers_submit(workers, &jobs[i]));
    workers_stop(workers);
    struct job *job = workers_take_returned(workers);
    for (size_t i = 0; i < JOBS; i++, job = job->next)
        ck_assert_ptr_eq(job, &jobs[i]);
    ck_assert_ptr_null(job);
    stop();
}
END_TEST

START_TEST(refuses_a_job_when_the_queue_is_full_and_takes_one_again_later) {
    start(1, QUEUE_MAX);
    pthread_mutex_lock(&gate);
    ck_assert(workers_submit(workers, &jobs[0]));
    while (workers_queue_length(workers) > 0)
        usleep(100); /* until the worker holds it */
    for (size_t i = 1; i <= QUEUE_MAX; i++)
        ck_assert(workers_submit(workers, &jobs[i]));
    ck_assert_uint_eq(workers_queue_length(workers), QUEUE_MAX);
    ck_assert(!workers_submit(workers, &jobs[QUEUE_MAX + 1]));
    pthread_mutex_unlock(&gate);
    while (run_count < QUEUE_MAX + 1)
        usleep(100);
    ck_assert(workers_submit(workers, &jobs[QUEUE_MAX + 1]));
    stop();
    ck_assert_uint_eq(run_count, QUEUE_MAX + 2);
}
END_TEST

START_TEST(a_full_queue_still_takes_what_is_to_be_freed) {
    start(1, 1);
    pthread_mutex_lock(&gate);
    ck_assert(workers_submit(workers, &jobs[0]));
    while (workers_queue_length(workers) > 0)
        usleep(100);
    ck_assert(workers_submit(workers, &jobs[1]));
    for (size_t i = 10; i < 30; i++)
        workers_release_later(workers, &jobs[i], i % 2 == 0);
    pthread_mutex_unlock(&gate);
    while (release_count < 20)
        usleep(100);
    stop();
    ck_assert_uint_eq(release_count, 20);
    ck_assert_uint_eq(run_count, 2);
}
END_TEST

START_TEST(what_is_to_be_freed_waits_for_the_next_occasion) {
    start(1, 1);
    workers_release_later(workers, &jobs[0], false);
    usleep(50000);
    ck_assert_uint_eq(release_count, 0);
    while (release_count < 1) { /* now and then, as the loop does */
        workers_release_waiting(workers);
        usleep(100);
    }
    workers_release_later(workers, &jobs[1], false);
    stop(); /* which is an occasion too */
    ck_assert_uint_eq(release_count, 2);
}
END_TEST

/* Each job comes when the threads are about to sleep, asleep, or about to wake. One whose thread is
 * not called would wait for ever. */
START_TEST(no_job_waits_for_a_thread_that_was_not_called) {
    enum {
        ROUNDS = 20000
    };
    start((unsigned)_i, JOBS);
    for (size_t round = 0; round < ROUNDS; round++) {
        ck_assert(workers_submit(workers, &jobs[round % JOBS]));
        while (!workers_take_returned(workers))
            sched_yield();
        for (size_t i = 0; i < round % 200; i++)
            (void)workers_queue_length(workers); /* time passes */
    }
    ck_assert_uint_eq(run_count, ROUNDS);
    stop();
}
END_TEST

START_TEST(as_many_jobs_run_at_once_as_there_are_threads) {
    enum {
        THREADS = 4
    };
    start(THREADS, JOBS);
    for (size_t round = 0; round < 200; round++) {
        pthread_mutex_lock(&gate);
        for (size_t i = 0; i < THREADS; i++)
            ck_assert(workers_submit(workers, &jobs[i]));
        while (workers_queue_length(workers) > 0) /* until each has a thread */
            sched_yield();
        pthread_mutex_unlock(&gate);
        for (size_t returned = 0; returned < THREADS;) /* a job is ours again then, not before */
            returned += length_of(workers_take_returned(workers));
        ck_assert_uint_eq(run_count, (round + 1) * THREADS);
    }
    stop();
}
END_TEST

START_TEST(stopping_runs_what_is_queued) {
    start(2, JOBS);
    pthread_mutex_lock(&gate);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert(workers_submit(workers, &jobs[i]));
    pthread_mutex_unlock(&gate);
    workers_stop(workers);
    ck_assert_uint_eq(run_count, JOBS);
    stop();
}
END_TEST

/* With its one worker busy, a socket waits; between jobs it has its turn. */
START_TEST(sockets_have_their_turn_among_jobs) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    start(1, JOBS);
    ck_assert(wait_set_watch(&wait_set, ends[0], 77));
    pthread_mutex_lock(&gate);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert(workers_submit(workers, &jobs[i]));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    usleep(20000);
    ck_assert_uint_eq(serve_count, 0);
    pthread_mutex_unlock(&gate);
    while (serve_count == 0)
        usleep(10);
    ck_assert_uint_eq(served_key, 77);
    ck_assert_uint_lt(run_before, JOBS); /* others waited still */
    while (run_count < JOBS)
        usleep(10);
    ck_assert_uint_eq(serve_count, 1); /* once each time bytes come */
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    while (serve_count == 1)
        usleep(10);
    wait_set_forget(&wait_set, ends[0]);
    stop();
    close(ends[0]);
    close(ends[1]);
}
END_TEST

static void *return_some(void *argument) {
    struct job *first = argument;
    for (size_t i = 0; i < JOBS / 4; i++)
        workers_return(workers, first + i);
    return NULL;
}

START_TEST(no_job_is_lost_between_threads_that_return_and_one_that_takes) {
    start(1, JOBS);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, return_some, jobs + i * (JOBS / 4)), 0);
    /* Like the loop, look only after a wake-up: a lost one would leave jobs behind for ever. */
    size_t taken = 0, seen = 0;
    while (taken < JOBS) {
        while (wake_count == seen)
            usleep(10);
        seen = wake_count;
        taken += length_of(workers_take_returned(workers));
    }
    ck_assert_uint_eq(taken, JOBS);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_ptr_null(workers_take_returned(workers));
    stop();
}
END_TEST

static void check_signals(struct lane_hand *hand, struct job *job) {
    (void)hand;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ck_assert_int_eq(sigismember(&blocked, SIGTERM), 1);
    ck_assert_int_eq(sigismember(&blocked, SIGINT), 1);
    workers_return(workers, job);
}

START_TEST(workers_leave_signals_to_the_loop) {
    start_with(check_signals, 1, 1);
    ck_assert(workers_submit(workers, &jobs[0]));
    workers_stop(workers);
    ck_assert_ptr_eq(workers_take_returned(workers), &jobs[0]);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ck_assert_int_eq(sigismember(&blocked, SIGTERM), 0);
    stop();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("workers");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, runs_every_job_once_and_returns_it);
    tcase_add_test(tests, one_worker_returns_jobs_in_the_order_they_came);
    tcase_add_test(tests, refuses_a_job_when_the_queue_is_full_and_takes_one_again_later);
    tcase_add_test(tests, a_full_queue_still_takes_what_is_to_be_freed);
    tcase_add_test(tests, what_is_to_be_freed_waits_for_the_next_occasion);
    tcase_add_loop_test(tests, no_job_waits_for_a_thread_that_was_not_called, 1, 4);
    tcase_add_test(tests, as_many_jobs_run_at_once_as_there_are_threads);
    tcase_add_test(tests, sockets_have_their_turn_among_jobs);
    tcase_add_test(tests, stopping_runs_what_is_queued);
    tcase_add_test(tests, no_job_is_lost_between_threads_that_return_and_one_that_takes);
    tcase_add_test(tests, workers_leave_signals_to_the_loop);
    suite_add_tcase(suite, tests);
    return suite;
}
