/* The kernels of edges of each instruction set that this machine runs against the plain C. */
#include "index/kernels.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = KERNELS_EDGES + 1,
    BYTES_MAX = 65536,
};

static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
static const size_t widths[] = {64, 128, 192, 384, 448, 768, 1024, 4160};

enum {
    NAMES = sizeof(names) / sizeof(names[0]),
    WIDTHS = sizeof(widths) / sizeof(widths[0]),
};

struct rows {
    uint8_t *codes;     /* owned: ROWS of width */
    float scales[ROWS]; /* of them */
    float *values;      /* owned: a query's */
    float *nodes;       /* owned: what the codes stand for */
};

static void make_rows(struct rows *rows, size_t width, unsigned seed) {
    srand(seed);
    rows->codes = aligned_alloc(64, ROWS * width);
    rows->values = aligned_alloc(64, width * sizeof(float));
    for (size_t i = 0; i < ROWS * width; i++)
        rows->codes[i] = (uint8_t)(1 + rand() % 255);
    rows->nodes = aligned_alloc(64, ROWS * width * sizeof(float));
    for (size_t i = 0; i < ROWS; i++) {
        rows->scales[i] = 0.001f + (float)(rand() % 1000) / 10000;
        for (size_t j = 0; j < width; j++)
            rows->nodes[i * width + j] =
                rows->scales[i] * (float)(rows->codes[i * width + j] - 128);
    }
    for (size_t i = 0; i < width; i++)
        rows->values[i] = (float)(rand() % 20001 - 10000) / 1000;
}

static void free_rows(struct rows *rows) {
    free(rows->codes);
    free(rows->values);
    free(rows->nodes);
}

static void must_be_close(float a, double b) {
    ck_assert_msg(fabs((double)a - b) <= 1e-5 * (fabs((double)a) + fabs(b)), "%.9g and %.9g",
                  (double)a, b);
}

/* The edge from row i to the next. */
static struct kernel_edge_ends ends_of(const struct rows *rows, size_t i, size_t width) {
    return (struct kernel_edge_ends){.from = rows->nodes + i * width,
                                     .to = rows->codes + (i + 1) * width,
                                     .to_scale = rows->scales[i + 1],
                                     .width = width};
}

static void must_differ_little(float a, float b, float scale) {
    ck_assert_msg(fabsf(a - b) <= 1e-4f * scale, "%.9g and %.9g", (double)a, (double)b);
}

/* Levels of all sizes: the same edge, the same planes, and about the same sums. */
START_TEST(measures_edges_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[(size_t)_i / WIDTHS]);
    size_t width = widths[(size_t)_i % WIDTHS];
    static uint64_t planes[KERNELS_EDGE_BITS_MAX * BYTES_MAX / 64],
        expected_planes[KERNELS_EDGE_BITS_MAX * BYTES_MAX / 64];
    _Alignas(64) static float r[BYTES_MAX], expected_r[BYTES_MAX];
    struct rows rows;
    if (!kernels)
        return;
    make_rows(&rows, width, (unsigned)_i);
    for (size_t i = 0; i < KERNELS_EDGES; i++) {
        const struct kernel_edge_ends ends = ends_of(&rows, i, width);
        struct kernel_edge edge = kernels->edge_measure(&ends, r);
        struct kernel_edge expected = kernels_scalar.edge_measure(&ends, expected_r);
        ck_assert(memcmp(r, expected_r, width * sizeof(r[0])) == 0);
        must_be_close(edge.square, (double)expected.square);
        must_differ_little(edge.from_edge, expected.from_edge, expected.square);
        float length = sqrtf(expected.square / (float)width);
        struct kernel_edge_levels levels = {.bits = 1 + i % KERNELS_EDGE_BITS_MAX,
                                            .per_unit = (float)i / (4 * length)};
        struct kernel_edge_levels expected_levels = levels;
        kernels->edge_levels(ends.from, r, width, &levels, planes);
        kernels_scalar.edge_levels(ends.from, r, width, &expected_levels, expected_planes);
        ck_assert(memcmp(planes, expected_planes, levels.bits * width / 8) == 0);
        float scale = 16 * length * (float)width;
        must_differ_little(levels.spread, expected_levels.spread, scale);
        must_differ_little(levels.from_levels, expected_levels.from_levels, scale);
    }
    free_rows(&rows);
}
END_TEST

/* The planes say in binary how many steps r lies above the lowest level, and no more than there
 * are levels. */
START_TEST(levels_are_steps_between_the_ends) {
    enum {
        WIDTH = 64,
        BITS = 3,
    };
    const struct kernels *kernels = kernels_by_name(names[_i]);
    _Alignas(64) float from[WIDTH], r[WIDTH];
    _Alignas(64) uint8_t to[WIDTH];
    uint64_t planes[BITS];
    float spread = 0, from_levels = 0;
    if (!kernels)
        return;
    for (int j = 0; j < WIDTH; j++) {
        int code = j % 7 - 3;
        from[j] = 0.5f * (float)code;
        to[j] = (uint8_t)(128 + code + 2 * j - WIDTH);
    }
    const struct kernel_edge_ends ends = {.from = from, .to = to, .to_scale = 0.5f, .width = WIDTH};
    struct kernel_edge_levels levels = {.bits = BITS, .per_unit = 0.125f};
    kernels->edge_measure(&ends, r);
    kernels->edge_levels(from, r, WIDTH, &levels, planes);
    for (int j = 0; j < WIDTH; j++) {
        /* r = j - 32 in steps of 8. */
        unsigned level = 0;
        for (size_t bit = 0; bit < BITS; bit++)
            level |= (unsigned)(planes[bit] >> j & 1) << bit;
        ck_assert_uint_eq(level, (unsigned)j / 8);
        float u = 2 * (float)level - 7;
        spread += u * ((float)j - (float)WIDTH / 2);
        from_levels += u * from[j];
    }
    ck_assert_float_eq_tol(levels.spread, spread, 1e-3f);
    ck_assert_float_eq_tol(levels.from_levels, from_levels, 1e-3f);
    levels.per_unit = 1000; /* the outermost levels */
    kernels->edge_levels(from, r, WIDTH, &levels, planes);
    for (size_t bit = 0; bit < BITS; bit++)
        ck_assert_uint_eq(planes[bit] & ~(UINT64_C(1) << 32), UINT64_MAX << 33);
    ck_assert_uint_eq(planes[BITS - 1] >> 32 & 1, 1); /* r = 0 lies just above the middle */
}
END_TEST

struct estimated {
    float step;
    uint8_t *sums; /* owned */
    float estimates[KERNELS_EDGES];
    uint32_t below;
};

/* A block of random edges of so many bits, asked about the rows' values. */
static void estimate(const struct kernels *kernels, const struct rows *rows, size_t width,
                     size_t bits, struct estimated *out) {
    uint8_t *block = aligned_alloc(64, 4 * bits * width + 2 * KERNELS_EDGES);
    uint8_t slopes[KERNELS_EDGES];
    uint64_t *planes = calloc(bits * width / 64, sizeof(*planes));
    float *r = aligned_alloc(64, width * sizeof(*r));
    uint8_t *numbers = block + 4 * bits * width;
    memset(block, 0xa5, 4 * bits * width + 2 * KERNELS_EDGES);
    out->sums = aligned_alloc(64, 4 * width);
    out->step = kernels->edge_sums(rows->values, width, out->sums);
    for (size_t place = 0; place < KERNELS_EDGES; place++) {
        const struct kernel_edge_ends ends = ends_of(rows, place, width);
        float length = sqrtf(kernels_scalar.edge_measure(&ends, r).square / (float)width);
        struct kernel_edge_levels levels = {.bits = bits, .per_unit = 1 / length};
        kernels->edge_levels(ends.from, r, width, &levels, planes);
        for (size_t bit = 0; bit < bits; bit++)
            kernels->edge_write(block + 4 * bit * width, place, planes + bit * (width / 64), width);
        memcpy(numbers + 2 * place, &(uint16_t){0x3f80}, 2); /* 1 */
        slopes[place] = (uint8_t)(place == 0 ? 0 : 8 * place + 7);
    }
    const struct kernel_edge_query query = {
        .sums = out->sums, .width = width, .bits = bits, .step = out->step};
    const struct kernel_edge_look look = {.block = block,
                                          .slopes = slopes,
                                          .next = block,
                                          .slope_unit = 0.05f,
                                          .distance = 3,
                                          .limit = 4};
    out->below = kernels->edge_estimates(&query, &look, out->estimates);
    free(r);
    free(planes);
    free(block);
}

/* Each set lays a block in its own way, so what it says is compared. */
START_TEST(estimates_edges_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[(size_t)_i / WIDTHS]);
    size_t width = widths[(size_t)_i % WIDTHS];
    struct rows rows;
    if (!kernels)
        return;
    make_rows(&rows, width, (unsigned)_i);
    for (size_t bits = 1; bits <= KERNELS_EDGE_BITS_MAX; bits++) {
        struct estimated found, expected;
        estimate(kernels, &rows, width, bits, &found);
        estimate(&kernels_scalar, &rows, width, bits, &expected);
        ck_assert_float_eq(found.step, expected.step);
        ck_assert(memcmp(found.sums, expected.sums, 4 * width) == 0);
        for (size_t i = 0; i < KERNELS_EDGES; i++) {
            must_differ_little(found.estimates[i], expected.estimates[i],
                               1 + fabsf(expected.estimates[i]));
            ck_assert_int_eq(found.below >> i & 1, found.estimates[i] < 4);
        }
        free(found.sums);
        free(expected.sums);
    }
    free_rows(&rows);
}
END_TEST

/* The estimate of an edge is what its levels times the values are, whatever the width: sums of
 * narrow integers would overflow at some. All levels are the highest and all values the same. */
START_TEST(edges_of_the_largest_levels_do_not_overflow) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    static uint64_t ones[BYTES_MAX / 64];
    if (!kernels)
        return;
    memset(ones, 0xff, sizeof(ones));
    for (size_t bits = 1; bits <= KERNELS_EDGE_BITS_MAX; bits++) {
        for (size_t width = 4096; width <= BYTES_MAX; width *= 4) {
            uint8_t *block = aligned_alloc(64, 4 * bits * width + 2 * KERNELS_EDGES);
            uint8_t slopes[KERNELS_EDGES];
            uint8_t *sums = aligned_alloc(64, 4 * width);
            float *values = aligned_alloc(64, width * sizeof(*values));
            float estimates[KERNELS_EDGES];
            for (size_t i = 0; i < width; i++)
                values[i] = 0.25f;
            memset(block, 0, 4 * bits * width + 2 * KERNELS_EDGES);
            memset(slopes, 1 << KERNELS_SLOPE_MANTISSA, sizeof(slopes)); /* 1 */
            for (size_t place = 0; place < KERNELS_EDGES; place++) {
                for (size_t bit = 0; bit < bits; bit++)
                    kernels->edge_write(block + 4 * bit * width, place, ones, width);
            }
            const struct kernel_edge_query query = {.sums = sums,
                                                    .width = width,
                                                    .bits = bits,
                                                    .step =
                                                        kernels->edge_sums(values, width, sums)};
            const struct kernel_edge_look look = {
                .block = block, .slopes = slopes, .next = block, .slope_unit = 1};
            kernels->edge_estimates(&query, &look, estimates);
            double wanted = -0.25 * (double)width * ((1 << bits) - 1);
            for (size_t i = 0; i < KERNELS_EDGES; i++)
                must_be_close(estimates[i], wanted);
            free(values);
            free(sums);
            free(block);
        }
    }
}
END_TEST

START_TEST(values_beyond_f32_have_no_sums) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    static const float odd[] = {0, 1e-42f, 3e38f, NAN, INFINITY};
    if (!kernels)
        return;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        _Alignas(64) float values[64];
        _Alignas(64) uint8_t sums[256], zeros[256];
        memset(zeros, KERNELS_EDGE_ZERO, sizeof(zeros));
        for (size_t j = 0; j < 64; j++)
            values[j] = odd[i];
        ck_assert_float_eq(kernels->edge_sums(values, 64, sums), 0);
        ck_assert(memcmp(sums, zeros, sizeof(sums)) == 0);
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("kernel_edges");
    TCase *tcase = tcase_create("edges");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, measures_edges_like_plain_c, 0, NAMES * WIDTHS);
    tcase_add_loop_test(tcase, levels_are_steps_between_the_ends, 0, NAMES);
    tcase_add_loop_test(tcase, estimates_edges_like_plain_c, 0, NAMES * WIDTHS);
    tcase_add_loop_test(tcase, edges_of_the_largest_levels_do_not_overflow, 0, NAMES);
    tcase_add_loop_test(tcase, values_beyond_f32_have_no_sums, 0, NAMES);
    suite_add_tcase(suite, tcase);
    return suite;
}
