/* Distances and the scores that the API shows for them. */
#include "index/distance.h"

#include "tests/support/run_suite.h"

#include <float.h>
#include <math.h>

static const struct {
    enum distance distance;
    float value, score;
} scores[] = {
    {DISTANCE_COSINE, -0.5f, 0.5f},
    {DISTANCE_DOT, 3, -3},
    {DISTANCE_DOT, 0, 0},
    {DISTANCE_EUCLID, 25, 5},
    {DISTANCE_EUCLID, 0, 0},
    {DISTANCE_MANHATTAN, 7, 7},
    {DISTANCE_COSINE, FLT_MAX, -FLT_MAX},
};

START_TEST(scores_are_what_the_api_shows) {
    float score = distance_score(scores[_i].distance, scores[_i].value);
    ck_assert_float_eq(score, scores[_i].score);
    ck_assert(!signbit(score) || score < 0); /* never -0 */
}
END_TEST

START_TEST(measures_small_vectors_exactly) {
    const float a[] = {1, -2, 3}, b[] = {4, 0, -1};
    ck_assert_float_eq(distance_between(DISTANCE_COSINE, a, b, 3), -1);
    ck_assert_float_eq(distance_between(DISTANCE_DOT, a, b, 3), -1);
    ck_assert_float_eq(distance_between(DISTANCE_EUCLID, a, b, 3), 29);
    ck_assert_float_eq(distance_between(DISTANCE_MANHATTAN, a, b, 3), 9);
}
END_TEST

START_TEST(stays_finite) {
    const float a[] = {FLT_MAX, -FLT_MAX}, b[] = {-FLT_MAX, FLT_MAX};
    for (int distance = 0; distance < DISTANCE_COUNT; distance++) {
        ck_assert_float_eq(distance_between((enum distance)distance, a, b, 2), FLT_MAX);
        float same = distance_between((enum distance)distance, a, a, 2);
        ck_assert_float_eq(same, distance_larger_is_better((enum distance)distance) ? -FLT_MAX : 0);
    }
}
END_TEST

START_TEST(normalises_unless_there_is_nothing_to_do) {
    float ordinary[] = {3, 4}, tiny[] = {1e-5f, 0}, done[] = {0.6f, 0.8f}, huge[] = {3e38f, 0};
    distance_normalise(ordinary, 2);
    ck_assert_float_eq(ordinary[0], 0.6f);
    ck_assert_float_eq(ordinary[1], 0.8f);
    distance_normalise(tiny, 2);
    ck_assert_float_eq(tiny[0], 1e-5f);
    distance_normalise(done, 2);
    ck_assert_float_eq(done[0], 0.6f);
    distance_normalise(huge, 2);
    ck_assert_float_eq(huge[0], 1);
}
END_TEST

START_TEST(has_the_names_of_the_api) {
    ck_assert_str_eq(distance_name(DISTANCE_COSINE), "Cosine");
    ck_assert_str_eq(distance_name(DISTANCE_EUCLID), "Euclid");
    ck_assert_str_eq(distance_name(DISTANCE_DOT), "Dot");
    ck_assert_str_eq(distance_name(DISTANCE_MANHATTAN), "Manhattan");
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("distance");
    TCase *tcase = tcase_create("distance");
    tcase_add_loop_test(tcase, scores_are_what_the_api_shows, 0,
                        (int)(sizeof(scores) / sizeof(scores[0])));
    tcase_add_test(tcase, measures_small_vectors_exactly);
    tcase_add_test(tcase, stays_finite);
    tcase_add_test(tcase, normalises_unless_there_is_nothing_to_do);
    tcase_add_test(tcase, has_the_names_of_the_api);
    suite_add_tcase(suite, tcase);
    return suite;
}
