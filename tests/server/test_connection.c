/* The moves of a connection; what it does on the wire is tests/http/test_wire.py's. */
#include "server/connection.h"
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
            ck_assert_msg(connection_may_move(a, b) == is_drawn(a, b), "from %d to %d", from, to);
        }
    }
}
END_TEST

START_TEST(every_state_can_reach_the_end) {
    for (int from = 0; from < CONNECTION_CLOSING; from++)
        ck_assert(connection_may_move((enum connection_state)from, CONNECTION_CLOSING));
}
END_TEST

START_TEST(a_connection_is_small) {
    /* 10,000 idle ones may take 16 KiB each, buffers of the kernel aside. */
    ck_assert_uint_le(sizeof(struct connection), 2048);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("connection");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, allows_the_moves_that_are_drawn_and_no_others);
    tcase_add_test(tests, every_state_can_reach_the_end);
    tcase_add_test(tests, a_connection_is_small);
    suite_add_tcase(suite, tests);
    return suite;
}
