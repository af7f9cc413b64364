/* Answers on their way to a socket, and who may put them there. */
#include "server/reply.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ANSWER_BYTES = 4 * 1024 * 1024, /* more than a socket takes at once */
    ROUNDS = 20000,
};

static int ends[2]; /* ours and the client's */
static struct reply reply;
static char large[ANSWER_BYTES];
static char text[4096]; /* what the client got */

static const struct api_answer hello = {
    .http_status = 200, .content_type = "text/plain", .body = "hello", .length = 5};
static const struct api_answer long_answer = {
    .http_status = 200, .content_type = "text/plain", .body = large, .length = ANSWER_BYTES};

static void set_up(void) {
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    memset(&reply, 0, sizeof(reply));
}

static void tear_down(void) {
    close(ends[0]);
    close(ends[1]);
}

static const char *received(void) {
    ssize_t got = recv(ends[1], text, sizeof(text) - 1, MSG_DONTWAIT);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static size_t left(void) {
    uv_buf_t buffers[REPLY_BUFFERS];
    size_t bytes = 0;
    for (unsigned i = reply_next(&reply, SIZE_MAX, buffers); i > 0; i--)
        bytes += buffers[i - 1].len;
    return bytes;
}

/* ---- Laying out ----------------------------------------------------------------------------- */

START_TEST(steps_of_any_size_give_the_whole_answer_in_order) {
    char whole[HTTP_RESPONSE_HEAD_MAX + 8] = "", pieces[sizeof(whole)] = "";
    reply_begin(&reply, &hello, false);
    strncat(whole, reply.head, reply.left[0].length);
    strcat(whole, "hello");
    size_t step = (size_t)_i + 1, used = 0;
    for (;;) {
        uv_buf_t buffers[REPLY_BUFFERS];
        unsigned count = reply_next(&reply, step, buffers);
        size_t length = 0;
        for (unsigned i = 0; i < count; i++) {
            ck_assert_uint_gt(buffers[i].len, 0);
            memcpy(pieces + used + length, buffers[i].base, buffers[i].len);
            length += buffers[i].len;
        }
        ck_assert_uint_le(length, step);
        if (count == 0)
            break;
        reply_pass(&reply, length);
        used += length;
    }
    ck_assert_str_eq(pieces, whole);
}
END_TEST

START_TEST(the_answer_to_head_has_no_body) {
    reply.is_head = true;
    reply_begin(&reply, &hello, false);
    ck_assert_uint_eq(left(), reply.left[0].length);
    ck_assert_ptr_nonnull(strstr(reply.head, "Content-Length: 5\r\n"));
}
END_TEST

/* ---- Whose it is ---------------------------------------------------------------------------- */

START_TEST(a_worker_may_send_only_what_it_was_allowed_to) {
    ck_assert(!reply_claim(&reply));
    ck_assert_int_eq(reply_recall(&reply), REPLY_KEPT);
    reply_allow(&reply, ends[0]);
    ck_assert_int_eq(reply_recall(&reply), REPLY_KEPT);
    ck_assert(!reply_claim(&reply));
    ck_assert_str_eq(received(), "");
}
END_TEST

START_TEST(a_worker_that_sent_all_leaves_the_job_to_the_loop) {
    reply_allow(&reply, ends[0]);
    ck_assert(!reply_is_sent(&reply));
    ck_assert(reply_claim(&reply));
    ck_assert(!reply_claim(&reply));
    ck_assert_int_eq(reply_send(&reply, &hello, false), REPLY_SENT);
    ck_assert(reply_is_sent(&reply));
    ck_assert_int_eq(reply_recall(&reply), REPLY_SENT);
    ck_assert_uint_eq(left(), 0);
    ck_assert(strncmp(received(), "HTTP/1.1 200 OK\r\n", 17) == 0);
    ck_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\nhello");
}
END_TEST

START_TEST(a_job_that_is_awaited_is_handed_back_though_all_is_sent) {
    reply_allow(&reply, ends[0]);
    ck_assert(reply_claim(&reply));
    if (_i == 0)
        ck_assert_int_eq(reply_recall(&reply), REPLY_AWAITED);
    ck_assert_int_eq(reply_send(&reply, &hello, _i == 1), REPLY_AWAITED);
    ck_assert_int_eq(reply_recall(&reply), REPLY_AWAITED);
    ck_assert(!reply_is_sent(&reply));
    ck_assert(reply.is_begun);
    ck_assert_uint_eq(left(), 0);
    ck_assert_ptr_nonnull(strstr(received(), "\r\n\r\nhello"));
}
END_TEST

START_TEST(what_the_socket_does_not_take_is_left_to_the_loop) {
    reply_allow(&reply, ends[0]);
    ck_assert(reply_claim(&reply));
    ck_assert_int_eq(reply_send(&reply, &long_answer, false), REPLY_AWAITED);
    ck_assert_uint_gt(left(), 0);
    ck_assert_uint_lt(left(), ANSWER_BYTES);
    ck_assert_int_eq(reply_recall(&reply), REPLY_AWAITED);
}
END_TEST

START_TEST(nothing_is_lost_when_the_client_is_gone) {
    close(ends[1]);
    reply_allow(&reply, ends[0]);
    ck_assert(reply_claim(&reply));
    /* And no signal ends this process. */
    ck_assert_int_eq(reply_send(&reply, &hello, false), REPLY_AWAITED);
    ck_assert_uint_gt(left(), hello.length);
    ends[1] = dup(ends[0]);
}
END_TEST

/* ---- Both at once --------------------------------------------------------------------------- */

static atomic_int go;        /* the round that both may begin */
static atomic_int came_back; /* the round whose job the worker handed back */

static void *work(void *argument) {
    (void)argument;
    for (int round = 1; round <= ROUNDS; round++) {
        while (atomic_load(&go) != round)
            sched_yield();
        if (!reply_claim(&reply) || reply_send(&reply, &hello, false) != REPLY_SENT)
            atomic_store(&came_back, round);
    }
    return NULL;
}

/* Whenever the loop recalls, exactly one of two is true: the job comes back, or it is the loop's at
 * once; and the client gets the answer from the worker at most once. */
START_TEST(a_recall_at_any_moment_leaves_the_job_with_one_of_both) {
    pthread_t worker;
    int sent = 0, kept = 0;
    ck_assert_int_eq(pthread_create(&worker, NULL, work, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        memset(&reply, 0, sizeof(reply));
        reply_allow(&reply, ends[0]);
        atomic_store(&go, round);
        for (int spins = rand() % 2000; spins > 0; spins--)
            atomic_load(&go);
        enum reply_stage stage = reply_recall(&reply);
        if (stage != REPLY_SENT)
            while (atomic_load(&came_back) != round)
                sched_yield();
        size_t answers = 0;
        for (const char *at = received(); (at = strstr(at, "HTTP/1.1")); at++)
            answers++;
        ck_assert_uint_eq(answers, stage == REPLY_KEPT ? 0 : 1);
        ck_assert_int_eq(reply.is_begun, stage != REPLY_KEPT);
        ck_assert(stage != REPLY_SENT || atomic_load(&came_back) != round);
        sent += stage == REPLY_SENT;
        kept += stage == REPLY_KEPT;
    }
    pthread_join(worker, NULL);
    ck_assert_int_gt(sent + kept, 0);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("reply");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, steps_of_any_size_give_the_whole_answer_in_order, 0, 200);
    tcase_add_test(tests, the_answer_to_head_has_no_body);
    tcase_add_test(tests, a_worker_may_send_only_what_it_was_allowed_to);
    tcase_add_test(tests, a_worker_that_sent_all_leaves_the_job_to_the_loop);
    tcase_add_loop_test(tests, a_job_that_is_awaited_is_handed_back_though_all_is_sent, 0, 2);
    tcase_add_test(tests, what_the_socket_does_not_take_is_left_to_the_loop);
    tcase_add_test(tests, nothing_is_lost_when_the_client_is_gone);
    tcase_add_test(tests, a_recall_at_any_moment_leaves_the_job_with_one_of_both);
    suite_add_tcase(suite, tests);
    return suite;
}
