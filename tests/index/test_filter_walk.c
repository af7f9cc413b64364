/* Filtered searches: the grid of shares and correlations, and that each way gives its due. */
#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 12000,
    DIMENSION = 64,
    QUERIES = 30,
    K = 10,
    PLANS = INDEX_PLAN_FILTERED_GRAPH + 1,
    SCORED_SPARE = 256, /* vectors measured at the end, and a look around the query */
};

static struct fixture fixture;
static uint64_t words[ROWS / 64 + 1];

static void setup(void) {
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_COSINE};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 17);
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 2);
}

static void teardown(void) {
    fixture_free(&fixture);
}

enum correlation {
    NONE,
    POSITIVE,
    NEGATIVE,
    CORRELATIONS
};

static const double shares[] = {1, 0.5, 0.2, 0.1, 0.04, 0.01, 0.003, 0.001, 0.0001};

enum {
    SHARES = sizeof(shares) / sizeof(shares[0])
};

/* Draws the slots that pass: more, or fewer, of those near the query where correlated. */
static struct slot_filter draw(const float *vector, double share, enum correlation correlation,
                               uint64_t seed) {
    static struct hit order[ROWS + 1];
    uint64_t state = seed;
    const struct index_query all = {.vector = vector, .k = ROWS, .operation = 1};
    struct slot_filter filter = {.words = words, .slot_end = ROWS};
    size_t count = fixture_oracle(&fixture, &all, order);
    memset(words, 0, sizeof(words));
    for (size_t rank = 0; rank < count; rank++) {
        double place = (double)rank / ROWS, chance = share;
        if (correlation == POSITIVE)
            chance = share * 3 * pow(1 - place, 2);
        if (correlation == NEGATIVE)
            chance = share * 3 * pow(place, 2);
        if (fixture_random(&state) >= chance)
            continue;
        words[order[rank].slot / 64] |= UINT64_C(1) << order[rank].slot % 64;
        filter.count++;
    }
    filter.estimate = filter.count;
    return filter;
}

/* In the cheapest way, and in each other by force: which one is the cheapest is the machine's
 * affair, and all have to be right. Where a walk cannot do it a scan follows. */
START_TEST(each_cell_finds_95_of_100_and_never_fewer_than_it_could) {
    enum index_plan wanted = (enum index_plan)(_i / (SHARES * CORRELATIONS));
    double share = shares[_i / CORRELATIONS % SHARES], sum = 0;
    enum correlation correlation = (enum correlation)(_i % CORRELATIONS);
    float vector[DIMENSION];
    int plans[PLANS] = {0};
    for (uint64_t i = 0; i < QUERIES; i++) {
        fixture_make_query(&fixture, 17, i, vector);
        struct slot_filter filter = draw(vector, share, correlation, i);
        struct index_query query = {
            .vector = vector, .k = K, .operation = 1, .filter = &filter, .plan = wanted};
        struct index_answer answer = fixture_search(&fixture, &query);
        ck_assert_uint_eq(answer.count, filter.count < K ? filter.count : K);
        /* Walks in vain included: a scan of what passes is never far away. */
        if (wanted == INDEX_PLAN_CHEAPEST)
            ck_assert_uint_le(answer.scored, 2 * (uint64_t)filter.count + SCORED_SPARE);
        for (size_t j = 0; j < answer.count; j++)
            ck_assert(words[answer.hits[j].slot / 64] >> answer.hits[j].slot % 64 & 1);
        plans[answer.plan]++;
        sum += fixture_recall(&fixture, &query, &answer);
    }
    ck_assert_msg(sum / QUERIES >= 0.95, "recall %.4f; %d scans, %d walks, %d filtered walks",
                  sum / QUERIES, plans[INDEX_PLAN_EXACT], plans[INDEX_PLAN_GRAPH],
                  plans[INDEX_PLAN_FILTERED_GRAPH]);
    if (share == 0.2 && correlation == NONE && wanted != INDEX_PLAN_CHEAPEST)
        ck_assert_int_eq(plans[wanted], QUERIES); /* force is obeyed */
}
END_TEST

struct question {
    const uint64_t *words; /* what really passes */
    uint32_t asked[ROWS];
};

static bool is_in(void *context, uint32_t slot) {
    struct question *question = context;
    question->asked[slot]++;
    return question->words[slot / 64] >> slot % 64 & 1;
}

START_TEST(a_lazy_filter_gives_the_same_and_is_asked_once) {
    static struct question question;
    uint64_t all[ROWS / 64 + 1];
    float vector[DIMENSION];
    double sum = 0, share = shares[_i];
    memset(all, 0xff, sizeof(all));
    for (uint64_t i = 0; i < QUERIES; i++) {
        fixture_make_query(&fixture, 17, i, vector);
        struct slot_filter truth = draw(vector, share, NONE, i);
        memset(&question, 0, sizeof(question));
        question.words = words;
        struct slot_filter lazy = {.words = all,
                                   .slot_end = ROWS,
                                   .count = ROWS,
                                   .estimate = truth.count,
                                   .matches = is_in,
                                   .context = &question};
        struct index_query query = {.vector = vector, .k = K, .operation = 1, .filter = &lazy};
        struct index_answer answer = fixture_search(&fixture, &query);
        for (uint32_t slot = 0; slot < ROWS; slot++)
            ck_assert_uint_le(question.asked[slot], 1);
        ck_assert_uint_eq(answer.count, truth.count < K ? truth.count : K);
        query.filter = &truth;
        sum += fixture_recall(&fixture, &query, &answer);
    }
    ck_assert_msg(sum / QUERIES >= 0.95, "recall %.4f", sum / QUERIES);
}
END_TEST

/* Equal vectors of which only some pass. */
START_TEST(passing_twins_are_found_behind_one_that_fails) {
    struct fixture twins;
    uint64_t pass[3000 / 64 + 1] = {0};
    const struct vector_index_options options = {.dimension = 16, .distance = DISTANCE_EUCLID};
    fixture_create(&twins, &options, 3000);
    fixture_fill_clusters(&twins, 0, 3000, 23);
    for (uint32_t row = 100; row < 200; row++)
        memcpy(fixture_row(&twins, row), fixture_row(&twins, 100), 16 * sizeof(float));
    fixture_put(&twins, 0, 3000, 1);
    fixture_link(&twins, 1);
    struct slot_filter filter = {.words = pass, .slot_end = 3000};
    for (uint32_t slot = 101; slot < 3000; slot += 2, filter.count++)
        pass[slot / 64] |= UINT64_C(1) << slot % 64;
    filter.estimate = filter.count;
    struct index_query query = {
        .vector = fixture_row(&twins, 100), .k = 50, .operation = 1, .filter = &filter};
    struct index_answer answer = fixture_search(&twins, &query);
    ck_assert_uint_eq(answer.count, 50);
    ck_assert(fixture_recall(&twins, &query, &answer) >= 0.98);
    fixture_free(&twins);
}
END_TEST

START_TEST(an_empty_filter_gives_nothing) {
    float vector[DIMENSION] = {1};
    struct slot_filter filter = {.words = words, .slot_end = _i ? ROWS : 0};
    memset(words, 0, sizeof(words));
    struct index_query query = {.vector = vector, .k = K, .operation = 1, .filter = &filter};
    ck_assert_uint_eq(fixture_search(&fixture, &query).count, 0);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("filter_walk");
    TCase *tcase = tcase_create("filter_walk");
    tcase_set_timeout(tcase, 240);
    tcase_add_unchecked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, each_cell_finds_95_of_100_and_never_fewer_than_it_could, 0,
                        PLANS * SHARES * CORRELATIONS);
    tcase_add_loop_test(tcase, a_lazy_filter_gives_the_same_and_is_asked_once, 0, SHARES);
    tcase_add_test(tcase, passing_twins_are_found_behind_one_that_fails);
    tcase_add_loop_test(tcase, an_empty_filter_gives_nothing, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
