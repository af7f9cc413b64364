/* The states of a connection; what it does on the wire is tests/http/test_wire.py's. */
#include "server/connection_states.h"
#include "tests/support/run_suite.h"

/* The picture of connection.h, once more and by hand. */
static const struct {
    enum connection_state from, to;
} drawn[] = {
    {CONNECTION_IDLE, CONNECTION_HEAD},         {CONNECTION_HEAD, CONNECTION_BODY},
    {CONNECTION_BODY, CONNECTION_RUNNING},      {CONNECTION_RUNNING, CONNECTION_ANSWERING},
    {CONNECTION_HEAD, CONNECTION_ANSWERING},    {CONNECTION_BODY, CONNECTION_ANSWERING},
    {CONNECTION_ANSWERING, CONNECTION_IDLE},    {CONNECTION_ANSWERING, CONNECTION_LINGERING},
    {CONNECTION_IDLE, CONNECTION_CLOSING},      {CONNECTION_HEAD, CONNECTION_CLOSING},
    {CONNECTION_BODY, CONNECTION_CLOSING},      {CONNECTION_RUNNING, CONNECTION_CLOSING},
    {CONNECTION_ANSWERING, CONNECTION_CLOSING}, {CONNECTION_LINGERING, CONNECTION_CLOSING},
    {CONNECTION_RUNNING, CONNECTION_LANED},     {CONNECTION_LANED, CONNECTION_RUNNING},
    {CONNECTION_LANED, CONNECTION_IDLE},        {CONNECTION_LANED, CONNECTION_CLOSING},
};

static bool is_drawn(enum connection_state from, enum connection_state to) {
    for (size_t i = 0; i < sizeof(drawn) / sizeof(drawn[0]); i++) {
        if (drawn[i].from == from && drawn[i].to == to)
            return true;
    }
    return false;
}

START_TEST(allows_the_moves_that_are_drawn_and_no_others) {
    for (int from = 0; from < CONNECTION_STATES; from++) {
        for (int to = 0; to < CONNECTION_STATES; to++) {
            enum connection_state a = (enum connection_state)from, b = (enum connection_state)to;
            ck_assert_msg(connection_states_may_follow(a, b) == is_drawn(a, b), "from %d to %d",
                          from, to);
        }
    }
}
END_TEST

START_TEST(every_state_can_reach_the_end) {
    for (int from = 0; from < CONNECTION_CLOSING; from++)
        ck_assert(connection_states_may_follow((enum connection_state)from, CONNECTION_CLOSING));
}
END_TEST

START_TEST(a_connection_is_small) {
    /* 10,000 idle ones may take 16 KiB each, buffers of the kernel aside. */
    ck_assert_uint_le(sizeof(struct connection), 2048);
}
END_TEST

static struct config config;
static struct server server;

static struct connection *connection_in(enum connection_state state) {
    static struct connection connection;
    config_init(&config);
    server.config = &config;
    server.loop.time = 100000;
    connection = (struct connection){.server = &server, .state = state, .since_ms = 90000};
    return &connection;
}

START_TEST(a_body_is_looked_at_once_a_minute) {
    struct connection *connection = connection_in(CONNECTION_BODY);
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 90000 + 60000);
    connection->received = 32 * 1024 * 1024; /* buys no time */
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 90000 + 60000);
}
END_TEST

START_TEST(head_and_idleness_count_from_their_start) {
    ck_assert_uint_eq(connection_states_deadline_ms(connection_in(CONNECTION_HEAD)), 90000 + 10000);
    ck_assert_uint_eq(connection_states_deadline_ms(connection_in(CONNECTION_IDLE)), 90000 + 75000);
}
END_TEST

START_TEST(a_running_request_has_no_deadline_until_its_client_closed_its_side) {
    struct connection *connection = connection_in(CONNECTION_RUNNING);
    ck_assert_uint_eq(connection_states_deadline_ms(connection), UINT64_MAX);
    connection->is_delegated = true; /* looked at, whether its answer was sent */
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 100000 + 250);
    connection->input_ended = true;
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 100000 + 1000);
}
END_TEST

START_TEST(a_connection_in_the_lane_is_looked_at_four_times_a_second) {
    struct connection *connection = connection_in(CONNECTION_LANED);
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 100000 + 250);
    connection->input_ended = true; /* of one that was recalled */
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 100000 + 1000);
}
END_TEST

START_TEST(lingering_ends_5_seconds_after_the_last_byte_and_30_after_its_start) {
    struct connection *connection = connection_in(CONNECTION_LINGERING);
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 100000 + 5000);
    server.loop.time = 90000 + 29000;
    ck_assert_uint_eq(connection_states_deadline_ms(connection), 90000 + 30000);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("connection_states");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, allows_the_moves_that_are_drawn_and_no_others);
    tcase_add_test(tests, every_state_can_reach_the_end);
    tcase_add_test(tests, a_connection_is_small);
    tcase_add_test(tests, a_body_is_looked_at_once_a_minute);
    tcase_add_test(tests, head_and_idleness_count_from_their_start);
    tcase_add_test(tests, a_running_request_has_no_deadline_until_its_client_closed_its_side);
    tcase_add_test(tests, a_connection_in_the_lane_is_looked_at_four_times_a_second);
    tcase_add_test(tests, lingering_ends_5_seconds_after_the_last_byte_and_30_after_its_start);
    suite_add_tcase(suite, tests);
    return suite;
}
