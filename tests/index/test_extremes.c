/* Numbers of all sizes: what leaves f32 on the way, and lengths that lie far apart. */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ROWS = 3000,
    DIMENSION = 64,
    NEW = 15,
};

static double normal(uint64_t *state) {
    double u = fixture_random(state) + 1e-12, v = fixture_random(state);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v);
}

/* Rows of one direction, more or less, and of a length. */
static void fill(struct fixture *fixture, float length) {
    uint64_t state = 7;
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t i = 0; i < DIMENSION; i++)
            fixture_row(fixture, row)[i] += length * (1 + 0.3f * (float)normal(&state));
    fixture_put(fixture, 0, ROWS, 1);
    fixture_link(fixture, 1);
    fixture_check(fixture);
}

/* All true distances are the same, at the end of f32: any k rows are the right ones. */
static void expect_ends_of_f32(struct fixture *fixture, const float *vector, float distance) {
    for (int plan = 0; plan <= INDEX_PLAN_GRAPH; plan++) {
        const struct index_query query = {
            .vector = vector, .k = 10, .operation = 1, .plan = (enum index_plan)plan};
        struct index_answer answer = fixture_search(fixture, &query);
        ck_assert_uint_eq(answer.count, 10);
        for (uint32_t i = 0; i < answer.count; i++)
            ck_assert_float_eq(answer.hits[i].distance, distance);
    }
}

/* Vectors as they may come, and a question that takes all dots out of f32, up or down. */
START_TEST(a_question_may_take_dots_out_of_f32) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = DIMENSION, .distance = DISTANCE_DOT};
    float vector[DIMENSION], sign = _i ? -1 : 1;
    fixture_create(&fixture, &options, ROWS);
    fill(&fixture, 20);
    for (uint32_t i = 0; i < DIMENSION; i++)
        vector[i] = sign * 1e37f;
    expect_ends_of_f32(&fixture, vector, -sign * FLT_MAX);
    fixture_free(&fixture);
}
END_TEST

START_TEST(vectors_may_have_no_dots_within_f32) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = _i ? DISTANCE_DOT : DISTANCE_EUCLID};
    fixture_create(&fixture, &options, ROWS);
    fill(&fixture, 1e20f);
    if (_i) {
        expect_ends_of_f32(&fixture, fixture_row(&fixture, 3), -FLT_MAX);
    } else {
        struct index_query query = {
            .vector = fixture_row(&fixture, 3), .k = 1, .operation = 1, .exact = true};
        ck_assert_uint_eq(fixture_search(&fixture, &query).hits[0].slot, 3);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(an_image_keeps_lengths_beyond_f32) {
    struct fixture fixture, loaded;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = (enum distance)_i};
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    struct index_stamp read;
    int fd = memfd_create("image", 0);
    fixture_create(&fixture, &options, ROWS);
    fixture_create(&loaded, &options, ROWS);
    for (uint32_t i = 0; i < DIMENSION; i++)
        fixture_row(&fixture, 7)[i] = 3e38f;
    fill(&fixture, 1);
    ck_assert_int_eq(
        vector_index_save(fixture.index, fd, INDEX_IMAGE_WHOLE, &stamp, &fixture.error), STATUS_OK);
    const struct index_files files = {.whole = fd, .delta = -1};
    enum status status = vector_index_load(loaded.index, &files, &read, &loaded.error);
    ck_assert_msg(status == STATUS_OK, "%s", loaded.error.message);
    close(fd);
    fixture_free(&fixture);
    fixture_free(&loaded);
}
END_TEST

/* Lengths of which some are thousands of times as large as others: around a node all but one
 * neighbour may look equally near. */
START_TEST(the_pool_bounds_a_walk_whatever_the_lengths) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_EUCLID};
    const uint32_t ef = 64, questions = 100, rows = 20000;
    uint64_t state = 12, scored = 0;
    float vector[DIMENSION];
    fixture_create(&fixture, &options, rows);
    for (uint32_t row = 0; row < rows; row++) {
        float length = (float)exp(2 * normal(&state));
        for (uint32_t i = 0; i < DIMENSION; i++)
            fixture_row(&fixture, row)[i] = length * (float)normal(&state);
    }
    fixture_put(&fixture, 0, rows, 1);
    fixture_link(&fixture, 2);
    for (uint32_t question = 0; question < questions; question++) {
        float length = (float)exp(2 * normal(&state));
        for (uint32_t i = 0; i < DIMENSION; i++)
            vector[i] = length * (float)normal(&state);
        const struct index_query query = {
            .vector = vector, .k = 10, .ef = ef, .operation = 1, .plan = INDEX_PLAN_GRAPH};
        scored += fixture_search(&fixture, &query).scored;
    }
    if (fixture_profile == INDEX_PROFILE_TURBO) /* where a node costs one distance */
        ck_assert_uint_lt(scored, (uint64_t)2 * ef * questions);
    ck_assert_uint_lt(scored, (uint64_t)questions * rows / 10);
    fixture_free(&fixture);
}
END_TEST

/* Blocks whose slopes are counted in larger units (edges.h). */
static uint32_t raised_blocks(const struct image_bytes *image) {
    const struct image_layout layout = image_file_layout(image);
    const struct image_part *links = &layout.parts[IMAGE_LINKS];
    uint32_t raised = 0;
    for (uint32_t row = 0; row < layout.rows; row++)
        raised +=
            image->data[links->at + row * links->row_bytes + offsetof(struct store_head, powers)] >
            0;
    return raised;
}

/* Rows of lengths that lie far apart, and in the delta farther still, so that units of slopes which
 * the image tells in are not those of today. Of one block a node, and of three. */
START_TEST(slopes_of_the_image_have_the_units_of_the_image) {
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance =
                                                     _i % 2 ? DISTANCE_DOT : DISTANCE_EUCLID,
                                                 .m = _i < 2 ? 16 : 48};
    struct fixture fixture;
    struct vector_index *loaded;
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 5);
    for (uint32_t row = 0; row < ROWS; row++) {
        float length = powf(row < ROWS - NEW ? 3 : 4, (float)(row % 5));
        for (uint32_t i = 0; i < DIMENSION; i++)
            fixture_row(&fixture, row)[i] *= length;
    }
    fixture_put(&fixture, 0, ROWS - NEW, 1);
    fixture_link(&fixture, 1);
    struct image_bytes image = image_file_save(fixture.index);
    ck_assert_uint_gt(raised_blocks(&image), 10);
    fixture_put(&fixture, ROWS - NEW, NEW, 1);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    struct image_bytes delta = image_file_save_as(fixture.index, INDEX_IMAGE_DELTA);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, &delta, &loaded), STATUS_OK);
    image_file_settle(loaded);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    image_file_finish_edges(&fixture, loaded);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    ck_assert_double_eq(image_file_stale_share(loaded), 0);
    vector_index_free(loaded);
    free(delta.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* What one long row does to the edges beside its own goes with it. */
START_TEST(units_fall_when_the_long_edge_is_gone) {
    const struct vector_index_options options = {
        .dimension = DIMENSION, .profile = INDEX_PROFILE_TURBO, .distance = DISTANCE_EUCLID};
    const uint32_t rows = 1000, longest = rows;
    struct fixture fixture;
    fixture_create(&fixture, &options, rows + 1);
    fixture_fill_clusters(&fixture, 0, rows + 1, 6);
    for (uint32_t i = 0; i < DIMENSION; i++)
        fixture_row(&fixture, longest)[i] *= 300;
    fixture_put(&fixture, 0, rows, 1);
    fixture_link(&fixture, 1);
    struct image_bytes before = image_file_save(fixture.index);
    ck_assert_uint_eq(raised_blocks(&before), 0);
    fixture_put(&fixture, longest, 1, 1);
    fixture_link(&fixture, 1);
    struct image_bytes beside = image_file_save(fixture.index);
    ck_assert_uint_gt(raised_blocks(&beside), 0);
    slots_died(fixture.slots, longest, 2);
    ck_assert_int_eq(
        vector_index_repair(fixture.index, &longest, 1, fixture.scratch, &fixture.error),
        STATUS_OK);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    struct image_bytes after = image_file_save(fixture.index);
    ck_assert_uint_eq(raised_blocks(&after), 0);
    free(before.data);
    free(beside.data);
    free(after.data);
    fixture_free(&fixture);
}
END_TEST

static void use_turbo(void) {
    fixture_profile = INDEX_PROFILE_TURBO;
}

static void add_tests(Suite *suite, TCase *tcase) {
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, a_question_may_take_dots_out_of_f32, 0, 2);
    tcase_add_loop_test(tcase, vectors_may_have_no_dots_within_f32, 0, 2);
    tcase_add_loop_test(tcase, an_image_keeps_lengths_beyond_f32, 0, DISTANCE_COUNT);
    tcase_add_test(tcase, the_pool_bounds_a_walk_whatever_the_lengths);
    suite_add_tcase(suite, tcase);
}

Suite *test_suite(void) {
    Suite *suite = suite_create("extremes");
    TCase *lean = tcase_create("lean"), *turbo = tcase_create("turbo");
    tcase_add_checked_fixture(turbo, use_turbo, NULL);
    tcase_add_test(turbo, units_fall_when_the_long_edge_is_gone);
    tcase_add_loop_test(turbo, slopes_of_the_image_have_the_units_of_the_image, 0, 4);
    add_tests(suite, lean);
    add_tests(suite, turbo);
    return suite;
}
