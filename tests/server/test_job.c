#include "server/job.h"
#include "tests/server/api_double.c"
#include "tests/support/run_suite.h"

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    BUDGET = 8 * MIB,
};

static struct job_totals totals;
static struct job_pool pool;
static struct job *done_job;
static char bytes[4 * MIB];

static void on_job_done(void *context, struct job *job) {
    ck_assert_ptr_eq(context, &totals);
    done_job = job;
}

static void set_up(void) {
    totals.body_bytes_max = BUDGET;
    totals.arena_bytes_fixed = MIB;
    totals.bodies.kept_max = BUDGET;
    totals.done = on_job_done;
    totals.context = &totals;
    job_pool_init(&pool, &totals);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 >> 3);
}

static void tear_down(void) {
    ck_assert_uint_eq(totals.jobs, 0);
    ck_assert_uint_eq(totals.body_bytes, 0);
    job_pool_free(&pool);
    job_totals_free(&totals);
}

static struct job *create(void) {
    struct job *job = job_create(&pool, NULL);
    ck_assert_ptr_nonnull(job);
    static const struct route echo = {.method = "POST", .handle = handle_echo};
    job->call.route = &echo;
    return job;
}

static void run_and_compare(struct job *job, size_t length) {
    job_run(job);
    ck_assert_ptr_eq(done_job, job);
    ck_assert_uint_eq(job->call.answer.length, length);
    if (length > 0)
        ck_assert(memcmp(job->call.answer.body, bytes, length) == 0);
    job_release(job);
}

static const size_t lengths[] = {0,         1,         16 * KIB - 1, 16 * KIB,    16 * KIB + 1,
                                 127 * KIB, 128 * KIB, MIB,          3 * MIB + 7, 4 * MIB};

START_TEST(a_body_of_known_length_is_whole) {
    struct job *job = create();
    size_t length = lengths[_i], room;
    ck_assert_int_eq(job_expect_body(job, length), STATUS_OK);
    ck_assert_uint_eq(totals.body_bytes, 0); /* nothing has come */
    for (size_t at = 0; at < length;) {
        char *to = job_body_room(job, &room);
        ck_assert_uint_eq(room, length - at);
        size_t here = room < 60000 ? room : 60000;
        memcpy(to, bytes + at, here); /* as a read into that place does */
        ck_assert_int_eq(job_append_body(job, to, here), STATUS_OK);
        at += here;
    }
    ck_assert_uint_ge(totals.body_bytes, length);
    run_and_compare(job, length);
}
END_TEST

START_TEST(a_body_that_comes_in_chunks_is_whole) {
    struct job *job = create();
    size_t length = lengths[_i];
    for (size_t at = 0; at < length;) {
        size_t here = length - at < 50001 ? length - at : 50001;
        ck_assert_int_eq(job_append_body(job, bytes + at, here), STATUS_OK);
        at += here;
    }
    run_and_compare(job, length);
}
END_TEST

START_TEST(bodies_are_refused_one_byte_beyond_the_budget) {
    struct job *jobs[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = create();
        ck_assert_int_eq(job_append_body(jobs[i], bytes, BUDGET / 2), STATUS_OK);
    }
    struct job *more = create();
    ck_assert_int_eq(job_append_body(more, bytes, 1), STATUS_UNAVAILABLE);
    ck_assert_int_eq(job_expect_body(more, 1), STATUS_UNAVAILABLE);
    job_release(jobs[0]);
    ck_assert_int_eq(job_append_body(more, bytes, 1), STATUS_OK);
    job_release(jobs[1]);
    job_release(more);
}
END_TEST

START_TEST(input_that_was_sent_ahead_counts_too) {
    ck_assert(job_totals_take(&totals, BUDGET - 1));
    ck_assert(!job_totals_take(&totals, 2));
    ck_assert(job_totals_take(&totals, 1));
    ck_assert(!job_totals_take(&totals, 1));
    ck_assert(!job_totals_take(&totals, SIZE_MAX));
    job_totals_give(&totals, BUDGET);
}
END_TEST

START_TEST(what_is_there_already_counts_beyond_the_budget) {
    ck_assert(job_totals_charge(&totals, BUDGET));
    ck_assert(!job_totals_charge(&totals, 1));
    ck_assert_uint_eq(totals.body_bytes, BUDGET + 1);
    struct job *job = create();
    ck_assert_int_eq(job_expect_body(job, 1), STATUS_UNAVAILABLE);
    ck_assert_int_eq(job_expect_body(job, MIB), STATUS_UNAVAILABLE);
    job_release(job);
    ck_assert(!job_totals_take(&totals, 1));
    job_totals_give(&totals, BUDGET + 1);
}
END_TEST

START_TEST(a_body_that_cannot_be_joined_is_an_error_and_no_more) {
    struct job *job = create();
    ck_assert_int_eq(job_append_body(job, bytes, MIB), STATUS_OK);
    job->arena.limit = 0;
    job_run(job);
    ck_assert_ptr_eq(done_job, job);
    ck_assert_uint_ne(job->call.answer.http_status, 200);
    job_release(job);
}
END_TEST

START_TEST(a_job_is_used_again_and_remembers_nothing) {
    struct job *first = create();
    ck_assert_int_eq(job_append_body(first, bytes, 100), STATUS_OK);
    first->call.is_read_only = true;
    first->was_handed_over = true;
    atomic_store(&first->call.is_cancelled, true);
    job_release(first);
    struct job *second = create();
    ck_assert_ptr_eq(second, first);
    ck_assert(!second->call.is_read_only && !second->was_handed_over);
    ck_assert(!atomic_load(&second->call.is_cancelled));
    ck_assert_ptr_null(second->first_piece);
    ck_assert_uint_eq(second->body_length, 0);
    job_release(second);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("job");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, a_body_of_known_length_is_whole, 0,
                        (int)(sizeof(lengths) / sizeof(lengths[0])));
    tcase_add_loop_test(tests, a_body_that_comes_in_chunks_is_whole, 0,
                        (int)(sizeof(lengths) / sizeof(lengths[0])));
    tcase_add_test(tests, bodies_are_refused_one_byte_beyond_the_budget);
    tcase_add_test(tests, input_that_was_sent_ahead_counts_too);
    tcase_add_test(tests, what_is_there_already_counts_beyond_the_budget);
    tcase_add_test(tests, a_body_that_cannot_be_joined_is_an_error_and_no_more);
    tcase_add_test(tests, a_job_is_used_again_and_remembers_nothing);
    suite_add_tcase(suite, tests);
    return suite;
}
