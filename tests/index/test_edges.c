/* Estimates by edges against the distances of the codes they stand for. */
#include "index/edges.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH_MAX = 768,
    TRIALS = 40,
};

static const size_t dimensions[] = {60, 128, 384, 768};

static float normal(void) {
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (float)rand() / (float)RAND_MAX;
    return sum - 6;
}

struct scene {
    struct code_space space;
    struct code_query query, work;
    struct edge_work edge_work;
    uint8_t *codes[KERNELS_EDGES + 1]; /* the node's is the last */
    struct code_meta metas[KERNELS_EDGES + 1];
    struct edge_block block; /* its memory is owned */
};

/* A node with neighbours about it and a query some way off; a few coordinates stick out. */
static void make_scene(struct scene *scene, enum distance distance, size_t dimension, size_t bits,
                       float size) {
    float node[WIDTH_MAX], vector[WIDTH_MAX], error;
    memset(scene, 0, sizeof(*scene));
    ck_assert(codes_space_init(&scene->space, distance, dimension));
    scene->space.edge_bits = bits;
    ck_assert(codes_query_reserve(&scene->query, scene->space.width));
    ck_assert(codes_query_reserve(&scene->work, scene->space.width));
    ck_assert(edges_work_reserve(&scene->edge_work, scene->space.width));
    scene->block.planes = aligned_alloc(64, edges_block_bytes(&scene->space));
    scene->block.slopes = malloc(EDGES_PER_BLOCK);
    for (size_t i = 0; i < dimension; i++)
        node[i] = size * normal() * (i % 50 == 3 ? 10 : 1);
    for (size_t i = 0; i <= KERNELS_EDGES; i++) {
        for (size_t j = 0; j < dimension; j++)
            vector[j] = node[j] + (i < KERNELS_EDGES ? 0.7f * size * normal() : 0);
        scene->codes[i] = aligned_alloc(64, scene->space.width);
        struct code_row row = {.code = scene->codes[i], .meta = &scene->metas[i], .error = &error};
        codes_encode(&scene->space, vector, &scene->work, &row);
    }
    for (size_t j = 0; j < dimension; j++)
        vector[j] = node[j] + size * normal();
    codes_query_vector(&scene->space, vector, &scene->query);
    codes_query_edges(&scene->space, &scene->query);
}

static void free_scene(struct scene *scene) {
    for (size_t i = 0; i <= KERNELS_EDGES; i++)
        free(scene->codes[i]);
    free(scene->block.planes);
    free(scene->block.slopes);
    codes_query_free(&scene->query);
    codes_query_free(&scene->work);
    edges_work_free(&scene->edge_work);
    codes_space_free(&scene->space);
}

static struct edge_end end_of(const struct scene *scene, size_t i) {
    return (struct edge_end){.code = scene->codes[i], .meta = scene->metas[i]};
}

/* Writes edges from the node to these places' neighbours. */
static uint32_t write_edges(struct scene *scene, uint32_t places) {
    struct edge_end node = end_of(scene, KERNELS_EDGES), neighbours[KERNELS_EDGES];
    for (size_t i = 0; i < KERNELS_EDGES; i++)
        neighbours[i] = end_of(scene, i);
    return edges_write(&scene->space, &node, neighbours, places, &scene->edge_work, &scene->block);
}

/* What the node's edges say of its neighbours; returns the places below the limit. */
static uint32_t estimate(const struct scene *scene, float distance, float *estimates) {
    const struct kernel_edge_look look = {
        .block = scene->block.planes,
        .slopes = scene->block.slopes,
        .next = scene->block.planes,
        .slope_unit =
            edges_slope_unit(&scene->space, scene->metas[KERNELS_EDGES], scene->block.power),
        .distance = distance,
        .limit = INFINITY};
    return scene->space.kernels->edge_estimates(&scene->query.edges, &look, estimates);
}

static float distance_to(const struct scene *scene, size_t i) {
    return codes_distance(&scene->space, &scene->query, scene->codes[i], scene->metas[i]);
}

/* |r| as the distances of the codes tell it. */
static double edge_length(struct scene *scene, size_t i) {
    double square = 0;
    for (size_t j = 0; j < scene->space.width; j++) {
        double a = (double)scene->metas[i].scale * (scene->codes[i][j] - 128);
        double b =
            (double)scene->metas[KERNELS_EDGES].scale * (scene->codes[KERNELS_EDGES][j] - 128);
        square += (a - b) * (a - b);
    }
    return sqrt(square);
}

/* The error of an estimate has no bias and the spread that edges.h gives, in units of |q-c| |r| /
 * sqrt(d) for a dot product; twice as much for a squared distance. */
START_TEST(estimates_are_as_good_as_promised) {
    static const enum distance distances[] = {DISTANCE_COSINE, DISTANCE_EUCLID, DISTANCE_DOT};
    static const double promised[] = {[1] = 0.756, [2] = 0.367, [3] = 0.197, [4] = 0.108};
    enum distance distance = distances[_i % 3];
    size_t dimension = dimensions[_i / 3 % 4], bits = 1 + (size_t)_i / 12;
    double sum = 0, squares = 0;
    srand((unsigned)_i);
    for (int trial = 0; trial < TRIALS; trial++) {
        struct scene scene;
        float estimates[KERNELS_EDGES];
        make_scene(&scene, distance, dimension, bits, 1);
        ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), UINT32_MAX);
        ck_assert_uint_eq(estimate(&scene, distance_to(&scene, KERNELS_EDGES), estimates),
                          UINT32_MAX);
        double unit = sqrt((double)dimension) * (distance == DISTANCE_EUCLID ? 2 : 1);
        for (size_t i = 0; i < KERNELS_EDGES; i++) {
            double error = (double)estimates[i] - (double)distance_to(&scene, i);
            /* |q - c| is about sqrt(d) here. */
            error /= unit * edge_length(&scene, i) / sqrt((double)dimension);
            sum += error;
            squares += error * error;
        }
        free_scene(&scene);
    }
    double count = TRIALS * KERNELS_EDGES, mean = sum / count, deviation = sqrt(squares / count);
    ck_assert_msg(fabs(mean) < 0.16 * promised[bits], "bias %.3f", mean);
    ck_assert_msg(fabs(deviation / promised[bits] - 1) < 0.12, "deviation %.3f", deviation);
}
END_TEST

START_TEST(numbers_beyond_f32_are_refused) {
    struct scene scene;
    srand(1);
    make_scene(&scene, DISTANCE_EUCLID, 128, 1 + (size_t)_i, 1e19f);
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), 0);
    free_scene(&scene);
}
END_TEST

/* One neighbour's numbers leave f32: the others have their edges. */
START_TEST(what_is_refused_is_told) {
    struct scene scene;
    srand(4);
    make_scene(&scene, DISTANCE_EUCLID, 128, 1 + (size_t)_i, 1);
    scene.metas[5].scale = 1e30f;
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), ~(UINT32_C(1) << 5));
    ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 5), 0);
    free_scene(&scene);
}
END_TEST

/* Whether they are written together or one after the other, in whatever order; and what is not
 * asked for stays. */
START_TEST(a_block_is_the_same_however_it_is_written) {
    struct scene scene;
    srand(3);
    make_scene(&scene, _i % 2 ? DISTANCE_EUCLID : DISTANCE_COSINE, 384, 1 + (size_t)_i / 2, 1);
    size_t bytes = edges_block_bytes(&scene.space);
    uint8_t *together = malloc(bytes), slopes[EDGES_PER_BLOCK];
    memset(scene.block.planes, 0xa5, bytes);
    memset(scene.block.slopes, 0xa5, sizeof(slopes));
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), UINT32_MAX);
    memcpy(together, scene.block.planes, bytes);
    memcpy(slopes, scene.block.slopes, sizeof(slopes));
    memset(scene.block.planes, 0x5a, bytes);
    memset(scene.block.slopes, 0x5a, sizeof(slopes));
    for (uint32_t i = 0; i < KERNELS_EDGES; i++) {
        uint32_t place = (7 * i + 3) % KERNELS_EDGES;
        ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << place), UINT32_C(1) << place);
    }
    ck_assert(memcmp(scene.block.planes, together, bytes) == 0);
    ck_assert(memcmp(scene.block.slopes, slopes, sizeof(slopes)) == 0);
    free(together);
    free_scene(&scene);
}
END_TEST

/* Equal codes make an edge of no length: the estimate is the node's own distance. */
START_TEST(an_edge_of_no_length_changes_nothing) {
    struct scene scene;
    float estimates[KERNELS_EDGES];
    srand(2);
    make_scene(&scene, DISTANCE_DOT, 384, 1 + (size_t)_i, 1);
    memset(scene.block.planes, 0, edges_block_bytes(&scene.space));
    memset(scene.block.slopes, 0, EDGES_PER_BLOCK);
    memcpy(scene.codes[7], scene.codes[KERNELS_EDGES], scene.space.width);
    scene.metas[7] = scene.metas[KERNELS_EDGES];
    ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 7), UINT32_C(1) << 7);
    estimate(&scene, 3, estimates);
    ck_assert_float_eq(estimates[7], 3);
    free_scene(&scene);
}
END_TEST

/* Neighbour 3 lies as much farther out than the node as `share` tells of its length, and is the
 * query. */
static void stretch_neighbour(struct scene *scene, float share) {
    const struct code_meta node = scene->metas[KERNELS_EDGES];
    memcpy(scene->codes[3], scene->codes[KERNELS_EDGES], scene->space.width);
    scene->metas[3] = (struct code_meta){(1 + share) * node.scale, (1 + share) * node.length};
    codes_query_row(&scene->space, scene->codes[3], scene->metas[3], &scene->query);
    codes_query_row_edges(&scene->space, scene->codes[3], scene->metas[3], &scene->query);
}

/* Of an edge that leads to the query itself the estimate errs by the rounding of its slope, which
 * counts for the length of the edge, or of the query for a dot, and of the query's sums. */
START_TEST(slopes_are_right_to_a_thirtieth) {
    static const float shares[] = {0.11f, 0.3f, 1, 1.7f, 3, 6, 30, 200, 700};
    struct scene scene;
    srand(5);
    make_scene(&scene, _i % 2 ? DISTANCE_EUCLID : DISTANCE_DOT, 384, 1 + (size_t)_i / 2, 1);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        float estimates[KERNELS_EDGES];
        stretch_neighbour(&scene, shares[i]);
        ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 3), UINT32_C(1) << 3);
        estimate(&scene, distance_to(&scene, KERNELS_EDGES), estimates);
        double length = edge_length(&scene, 3);
        double counts = length * (_i % 2 ? 2 * length : (double)scene.metas[3].length);
        double error = (double)estimates[3] - (double)distance_to(&scene, 3);
        ck_assert_msg(fabs(error) < counts / 30, "%g: %g of %g", (double)shares[i], error, counts);
    }
    free_scene(&scene);
}
END_TEST

/* However long the node is: the dot of a query a thousand times shorter is told as well. */
START_TEST(the_node_s_length_is_not_rounded_into_a_dot) {
    static const float shares[] = {0.37f, 0.52f, 0.71f, 1.03f, 1.9f, 3.3f, 4.7f, 9.1f};
    struct scene scene;
    srand(7);
    make_scene(&scene, DISTANCE_DOT, 384, 1 + (size_t)_i, 1);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        float estimates[KERNELS_EDGES];
        struct code_meta query = scene.metas[KERNELS_EDGES];
        query.scale /= 1000;
        query.length /= 1000;
        stretch_neighbour(&scene, shares[i]);
        codes_query_row(&scene.space, scene.codes[KERNELS_EDGES], query, &scene.query);
        codes_query_row_edges(&scene.space, scene.codes[KERNELS_EDGES], query, &scene.query);
        ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 3), UINT32_C(1) << 3);
        estimate(&scene, distance_to(&scene, KERNELS_EDGES), estimates);
        double error = (double)estimates[3] - (double)distance_to(&scene, 3);
        ck_assert_msg(fabs(error) < edge_length(&scene, 3) * (double)query.length / 30, "%g: %g",
                      (double)shares[i], error);
    }
    free_scene(&scene);
}
END_TEST

/* Units grow with the longest edge, and are not the node's own any more for the others. */
START_TEST(a_long_edge_raises_the_power) {
    struct scene scene;
    srand(6);
    make_scene(&scene, _i % 2 ? DISTANCE_EUCLID : DISTANCE_DOT, 384, 1 + (size_t)_i / 2, 1);
    stretch_neighbour(&scene, 3);
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), UINT32_MAX);
    ck_assert_uint_eq(scene.block.power, 0);
    stretch_neighbour(&scene, 12);
    ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 3), UINT32_C(1) << 3);
    ck_assert_uint_eq(scene.block.power, 1);
    ck_assert(edges_want_power(&scene.block, UINT32_C(1) << 3));
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), UINT32_MAX);
    ck_assert(!edges_want_power(&scene.block, ~(UINT32_C(1) << 3)));
    stretch_neighbour(&scene, 700);
    ck_assert_uint_eq(write_edges(&scene, UINT32_C(1) << 3), UINT32_C(1) << 3);
    ck_assert_uint_eq(scene.block.power, EDGES_POWER_MAX);
    free_scene(&scene);
}
END_TEST

/* And does not spoil the others. */
START_TEST(an_edge_too_long_for_any_power_leaves_it) {
    struct scene scene;
    srand(8);
    make_scene(&scene, _i % 2 ? DISTANCE_EUCLID : DISTANCE_DOT, 384, 1 + (size_t)_i / 2, 1);
    stretch_neighbour(&scene, 1e5f);
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), ~(UINT32_C(1) << 3));
    ck_assert_uint_eq(scene.block.power, 0);
    free_scene(&scene);
}
END_TEST

START_TEST(a_node_of_no_length_has_no_edges) {
    struct scene scene;
    srand(6);
    make_scene(&scene, _i % 2 ? DISTANCE_EUCLID : DISTANCE_DOT, 384, 1 + (size_t)_i / 2, 1);
    scene.metas[KERNELS_EDGES] = (struct code_meta){0, 0}; /* no unit, then */
    ck_assert_uint_eq(write_edges(&scene, UINT32_MAX), 0);
    ck_assert_uint_eq(scene.block.power, 0);
    free_scene(&scene);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("edges");
    TCase *tcase = tcase_create("edges");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, estimates_are_as_good_as_promised, 0, 12 * KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, numbers_beyond_f32_are_refused, 0, KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, what_is_refused_is_told, 0, KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, a_block_is_the_same_however_it_is_written, 0,
                        2 * KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, an_edge_of_no_length_changes_nothing, 0, KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, slopes_are_right_to_a_thirtieth, 0, 2 * KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, the_node_s_length_is_not_rounded_into_a_dot, 0,
                        KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, a_long_edge_raises_the_power, 0, 2 * KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, an_edge_too_long_for_any_power_leaves_it, 0,
                        2 * KERNELS_EDGE_BITS_MAX);
    tcase_add_loop_test(tcase, a_node_of_no_length_has_no_edges, 0, 2 * KERNELS_EDGE_BITS_MAX);
    suite_add_tcase(suite, tcase);
    return suite;
}
