/* What the server counts, as /metrics tells it. */
#include "server/metrics.h"
#include "tests/support/run_suite.h"

#include <stdio.h>
#include <string.h>

/* Two routes are enough; that of api_double.c would bring its whole server. */
const struct route routes[] = {{.method = "GET", .pattern = "/a"},
                               {.method = "POST", .pattern = "/b"}};
const size_t routes_count = 2;

static struct metrics *metrics;
static struct arena arena;
static char text[1 << 16];

static void set_up(void) {
    struct error error;
    ck_assert_int_eq(metrics_create(&metrics, &error), STATUS_OK);
    arena_init(&arena, 1 << 20);
}

static void tear_down(void) {
    metrics_free(metrics);
    arena_free(&arena);
}

static void expect(const char *line) {
    struct json_writer out;
    const struct loop_clock clock = {0};
    json_writer_init(&out, &arena);
    metrics_write(metrics, &(struct metrics_moment){.clock = &clock}, &out);
    ck_assert_int_eq(json_writer_finish(&out), STATUS_OK);
    snprintf(text, sizeof(text), "%.*s", (int)out.length, out.text);
    ck_assert_msg(strstr(text, line), "no line %s in\n%s", line, text);
}

#define B_SEARCH "{method=\"POST\",endpoint=\"/b\",stage=\"search\""

START_TEST(stages_are_told_by_endpoint_in_buckets) {
    static const uint64_t search_ns[] = {900, 1000, 1001, 49000, 200000000};
    for (size_t i = 0; i < sizeof(search_ns) / sizeof(search_ns[0]); i++)
        metrics_count_stages(metrics, &routes[1],
                             &(struct stage_clock){.was_started = true,
                                                   .spent_ns = {[STAGE_search] = search_ns[i]}});
    expect("\nnigh_stage_cpu_seconds_bucket" B_SEARCH ",le=\"1e-06\"} 2\n");
    expect("\nnigh_stage_cpu_seconds_bucket" B_SEARCH ",le=\"2e-06\"} 3\n");
    expect("\nnigh_stage_cpu_seconds_bucket" B_SEARCH ",le=\"5e-05\"} 4\n");
    expect("\nnigh_stage_cpu_seconds_bucket" B_SEARCH ",le=\"0.1\"} 4\n");
    expect("\nnigh_stage_cpu_seconds_bucket" B_SEARCH ",le=\"+Inf\"} 5\n");
    expect("\nnigh_stage_cpu_seconds_sum" B_SEARCH "} 0.200051901\n");
    expect("\nnigh_stage_cpu_seconds_count" B_SEARCH "} 5\n");
    ck_assert_ptr_null(strstr(text, "stage=\"rows\""));
    ck_assert_ptr_null(strstr(text, "endpoint=\"/a\""));
}
END_TEST

START_TEST(what_was_not_clocked_is_not_counted) {
    metrics_count_stages(metrics, &routes[0], &(struct stage_clock){.spent_ns = {1, 1, 1}});
    metrics_count_stages(metrics, NULL, &(struct stage_clock){.was_started = true});
    expect("# TYPE nigh_stage_cpu_seconds histogram\n");
    ck_assert_ptr_null(strstr(text, "nigh_stage_cpu_seconds_count"));
}
END_TEST

START_TEST(answers_are_told_by_endpoint_and_status) {
    metrics_count_answer(metrics, &routes[0], 200, 300000);
    metrics_count_answer(metrics, &routes[0], 200, 260000);
    metrics_count_answer(metrics, &routes[1], 418, 1);
    metrics_count_answer(metrics, NULL, 404, 1);
    expect("\nrest_responses_total{method=\"GET\",endpoint=\"/a\",status=\"200\"} 2\n");
    expect("\nrest_responses_total{method=\"POST\",endpoint=\"/b\",status=\"0\"} 1\n");
    expect("\nrest_responses_total{method=\"\",endpoint=\"\",status=\"404\"} 1\n");
    expect("\nrest_responses_duration_seconds_bucket{method=\"GET\",endpoint=\"/"
           "a\",le=\"0.00025\"} 0\n");
    expect("\nrest_responses_duration_seconds_bucket{method=\"GET\",endpoint=\"/a\",le=\"0.0005\"} "
           "2\n");
    expect("\nrest_responses_duration_seconds_sum{method=\"GET\",endpoint=\"/a\"} 0.000560000\n");
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("metrics");
    TCase *tcase = tcase_create("metrics");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, stages_are_told_by_endpoint_in_buckets);
    tcase_add_test(tcase, what_was_not_clocked_is_not_counted);
    tcase_add_test(tcase, answers_are_told_by_endpoint_and_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
