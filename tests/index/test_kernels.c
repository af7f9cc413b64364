/* Each instruction set that this machine runs against the plain C. */
#include "index/kernels.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 37,
    BYTES_MAX = 65536,
};

static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
static const size_t widths[] = {64, 128, 192, 384, 448, 768, 1024, 4160};

enum {
    NAMES = sizeof(names) / sizeof(names[0]),
    WIDTHS = sizeof(widths) / sizeof(widths[0]),
};

struct rows {
    uint8_t *codes;
    const uint8_t *list[ROWS];
    int8_t *query_codes;
    float *query_values, *others;
    float scales[ROWS];
    struct kernel_query query;
};

static double uniform(void) {
    return (double)rand() / RAND_MAX;
}

static void make_rows(struct rows *rows, size_t bytes, unsigned seed) {
    int32_t sum = 0;
    srand(seed);
    rows->codes = aligned_alloc(64, ROWS * bytes);
    rows->query_codes = aligned_alloc(64, bytes);
    rows->query_values = aligned_alloc(64, bytes * sizeof(float));
    rows->others = aligned_alloc(64, bytes * sizeof(float));
    for (size_t i = 0; i < ROWS * bytes; i++)
        rows->codes[i] = (uint8_t)(1 + rand() % 255);
    for (size_t i = 0; i < bytes; i++) {
        rows->query_codes[i] = (int8_t)(rand() % 255 - 127);
        rows->query_values[i] = (float)(uniform() * 20 - 10);
        rows->others[i] = (float)(uniform() * 20 - 10);
        sum += rows->query_codes[i];
    }
    for (size_t i = 0; i < ROWS; i++) {
        rows->list[i] = rows->codes + i * bytes;
        rows->scales[i] = (float)uniform() / 10;
    }
    rows->query = (struct kernel_query){.codes = rows->query_codes,
                                        .values = rows->query_values,
                                        .bytes = bytes,
                                        .offset = 128 * sum};
}

static void free_rows(struct rows *rows) {
    free(rows->codes);
    free(rows->query_codes);
    free(rows->query_values);
    free(rows->others);
}

static void must_be_close(double a, double b) {
    ck_assert_msg(fabs(a - b) <= 1e-5 * (fabs(a) + fabs(b)) + 1e-9, "%.9g and %.9g", a, b);
}

START_TEST(sums_rows_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[(size_t)_i / WIDTHS]);
    struct rows rows;
    if (!kernels)
        return; /* not this machine's */
    make_rows(&rows, widths[(size_t)_i % WIDTHS], (unsigned)_i);
    for (size_t count = 0; count <= ROWS; count++) {
        int32_t dots[ROWS], expected[ROWS];
        float sums[ROWS], expected_sums[ROWS];
        kernels->dot_rows(&rows.query, rows.list, count, dots);
        kernels_scalar.dot_rows(&rows.query, rows.list, count, expected);
        ck_assert(memcmp(dots, expected, count * sizeof(dots[0])) == 0);
        kernels->l1_rows(&rows.query, rows.list, rows.scales, count, sums);
        kernels_scalar.l1_rows(&rows.query, rows.list, rows.scales, count, expected_sums);
        for (size_t i = 0; i < count; i++)
            must_be_close((double)sums[i], (double)expected_sums[i]);
    }
    free_rows(&rows);
}
END_TEST

/* Number `at` of a row, as kernels.h tells; with 7.5 in place of its lower half. */
struct number {
    int whole;
    double coarse;
};

static struct number number_of(const uint8_t *row, size_t bytes, size_t at) {
    size_t pairs = bytes / 128, begin = bytes - 128 * pairs;
    if (at < begin)
        return (struct number){row[at] - 128, row[at] - 128};
    size_t pair = (at - begin) / 128, j = (at - begin) % 64;
    int upper = row[begin + 64 * pair + j], lower = row[begin + 64 * (pairs + pair) + j];
    bool is_first = (at - begin) % 128 < 64;
    upper = is_first ? upper >> 4 : upper & 15;
    lower = is_first ? lower >> 4 : lower & 15;
    return (struct number){16 * upper + lower - 128, 16 * upper + 7.5 - 128};
}

START_TEST(multiplies_split_rows) {
    const struct kernels *kernels = kernels_by_name(names[(size_t)_i / WIDTHS]);
    size_t width = widths[(size_t)_i % WIDTHS];
    int32_t dots[KERNELS_QUERIES * ROWS], coarse[ROWS], of_pairs = 0, sum = 0;
    struct rows rows;
    if (!kernels)
        return;
    make_rows(&rows, width, (unsigned)_i);
    int8_t *codes = aligned_alloc(64, width);
    for (size_t j = width % 128; j < width; j++)
        of_pairs += rows.query_codes[j];
    rows.query.pairs = width / 128;
    rows.query.pairs_sum = of_pairs;
    struct kernel_scan scan = {
        .queries_count = 1, .rows = rows.list, .count = ROWS, .dots = dots, .stride = ROWS};
    for (size_t q = 0; q < KERNELS_QUERIES; q++)
        scan.queries[q] = &rows.query;
    kernels->coarse_rows(&rows.query, rows.list, ROWS, coarse);
    for (int way = 0; way < 3; way++) {
        memset(dots, 0x55, sizeof(dots));
        scan.queries_count = way == 1 ? 1 : KERNELS_QUERIES;
        if (way == 0)
            kernels->dot_rows(&rows.query, rows.list, ROWS, dots);
        else
            kernels->scan_rows(&scan);
        for (size_t i = 0; i < ROWS; i++) {
            int expected = 0;
            double near = 0;
            for (size_t j = 0; j < width; j++) {
                struct number number = number_of(rows.list[i], width, j);
                expected += number.whole * rows.query_codes[j];
                near += number.coarse * rows.query_codes[j];
            }
            for (size_t q = 0; q < (way == 2 ? KERNELS_QUERIES : 1); q++)
                ck_assert_int_eq(dots[q * ROWS + i], expected);
            ck_assert_double_le(fabs(coarse[i] - near), 1);
        }
    }
    int32_t found = kernels->decode(rows.codes, rows.query.pairs, codes, width);
    for (size_t j = 0; j < width; j++) {
        ck_assert_int_eq(codes[j], number_of(rows.codes, width, j).whole);
        sum += codes[j];
    }
    ck_assert_int_eq(found, sum);
    free(codes);
    free_rows(&rows);
}
END_TEST

/* Queries that differ: each begins a block later in codes that are as long as all of them. */
START_TEST(multiplies_several_queries_in_one_pass) {
    const struct kernels *kernels = kernels_by_name(names[(size_t)_i / WIDTHS]);
    size_t width = widths[(size_t)_i % WIDTHS];
    struct kernel_query queries[KERNELS_QUERIES];
    struct rows rows, wide;
    if (!kernels)
        return;
    make_rows(&rows, width, (unsigned)_i);
    make_rows(&wide, width + KERNELS_QUERIES * KERNELS_BLOCK, (unsigned)_i + 1);
    for (size_t q = 0; q < KERNELS_QUERIES; q++) {
        queries[q] =
            (struct kernel_query){.codes = wide.query_codes + q * KERNELS_BLOCK, .bytes = width};
        for (size_t i = 0; i < width; i++)
            queries[q].offset += 128 * queries[q].codes[i];
    }
    for (size_t together = 1; together <= KERNELS_QUERIES; together += KERNELS_QUERIES - 1) {
        for (size_t count = 0; count <= ROWS; count++) {
            int32_t dots[KERNELS_QUERIES * (ROWS + 1)], expected[ROWS];
            struct kernel_scan scan = {.queries_count = together,
                                       .rows = rows.list,
                                       .count = count,
                                       .dots = dots,
                                       .stride = ROWS + 1};
            for (size_t q = 0; q < together; q++) {
                scan.queries[q] = &queries[q];
                dots[q * scan.stride + count] = 12345; /* beyond the last: to be left alone */
            }
            kernels->scan_rows(&scan);
            for (size_t q = 0; q < together; q++) {
                kernels_scalar.dot_rows(&queries[q], rows.list, count, expected);
                ck_assert(memcmp(dots + q * scan.stride, expected, count * sizeof(dots[0])) == 0);
                ck_assert_int_eq(dots[q * scan.stride + count], 12345);
            }
        }
    }
    free_rows(&rows);
    free_rows(&wide);
}
END_TEST

/* Dot product and L2; numbers that leave f32 among them. */
START_TEST(weighs_rows_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    float scales[ROWS], lengths[ROWS], errors[ROWS];
    int32_t dots[ROWS];
    if (!kernels)
        return;
    for (int seed = 0; seed < 20; seed++) {
        float distances[2][ROWS], floors[2][ROWS];
        srand((unsigned)seed);
        for (size_t i = 0; i < ROWS; i++) {
            scales[i] = i == 7 ? 1e38f : (float)uniform();
            lengths[i] = i == 11 ? 1e30f : (float)uniform() * 1000;
            errors[i] = i == 13 ? INFINITY : (float)uniform();
            dots[i] = rand() % 2000000 - 1000000;
        }
        const struct kernel_weights weights = {.base = seed % 2 ? (float)uniform() * 1000 : 0,
                                               .square = (float)(seed % 2),
                                               .factor = -(float)uniform(),
                                               .floor_base = (float)uniform() / 100,
                                               .floor_error = (float)uniform(),
                                               .floor_length = (float)uniform() / 1000,
                                               .floor_value = 1e-6f};
        const struct kernel_rows rows = {scales, lengths, errors, (size_t)(seed % 4 ? ROWS : seed)};
        kernels->weigh_rows(&weights, &rows, dots, distances[0]);
        kernels_scalar.weigh_rows(&weights, &rows, dots, distances[1]);
        kernels->floor_rows(&weights, &rows, distances[0], floors[0]);
        kernels_scalar.floor_rows(&weights, &rows, distances[1], floors[1]);
        /* Bit for bit. NOLINTBEGIN(bugprone-suspicious-memory-comparison) */
        ck_assert(memcmp(distances[0], distances[1], rows.count * sizeof(float)) == 0);
        ck_assert(memcmp(floors[0], floors[1], rows.count * sizeof(float)) == 0);
        /* NOLINTEND(bugprone-suspicious-memory-comparison) */
    }
}
END_TEST

START_TEST(compares_with_a_limit_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    float values[64];
    if (!kernels)
        return;
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 64; i++)
            values[i] = (float)(rand() % 9 - 4);
        values[round] = round % 2 ? NAN : -INFINITY;
        uint64_t bits = kernels->not_above(values, (float)(round % 5 - 2));
        ck_assert_uint_eq(bits, kernels_scalar.not_above(values, (float)(round % 5 - 2)));
        ck_assert_uint_eq(bits >> round & 1, 1);
        for (size_t i = 0; i < 64; i++)
            ck_assert_uint_eq(bits >> i & 1, !(values[i] > (float)(round % 5 - 2)));
    }
}
END_TEST

/* Pools of every length up to some registers, among them equal, infinite and negative distances and
 * slots whose bits are those of small, large or no numbers. */
START_TEST(ranks_hits) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    static const float wanted[] = {-INFINITY, -2, 0, 1, INFINITY};
    struct hit hits[70];
    if (!kernels)
        return;
    srand(6);
    for (size_t i = 0; i < 70; i++)
        hits[i] = (struct hit){.slot = (uint32_t)rand() << 1,
                               .distance = i % 9 == 8 ? INFINITY : (float)(rand() % 7 - 3)};
    for (size_t count = 0; count <= 70; count++) {
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            size_t before = 0;
            for (size_t j = 0; j < count; j++)
                before += hits[j].distance <= wanted[i];
            ck_assert_uint_eq(kernels->rank(hits, count, wanted[i]), before);
        }
    }
}
END_TEST

START_TEST(measures_floats_like_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    struct rows rows;
    if (!kernels)
        return;
    make_rows(&rows, 320, 5);
    for (size_t count = 0; count <= 300; count++) {
        const float *a = rows.query_values + 1, *b = rows.others + count % 7; /* unaligned */
        must_be_close(kernels->squared_l2(a, b, count, b),
                      kernels_scalar.squared_l2(a, b, count, b));
        must_be_close(kernels->l1(a, b, count, b), kernels_scalar.l1(a, b, count, b));
        ck_assert(fabs(kernels->dot(a, b, count, b) - kernels_scalar.dot(a, b, count, b)) <=
                  1e-12 * 100 * (double)(count + 1));
    }
    free_rows(&rows);
}
END_TEST

START_TEST(transforms_to_the_same_bits_as_plain_c) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    struct rows rows;
    if (!kernels)
        return;
    make_rows(&rows, 4096, 6);
    for (size_t count = 64; count <= 4096; count *= 2) {
        float *a = rows.query_values, *b = rows.others;
        int8_t *codes = aligned_alloc(64, count), *expected = aligned_alloc(64, count);
        uint64_t bits[64];
        memcpy(b, a, count * sizeof(float));
        for (size_t i = 0; i < 64; i++)
            bits[i] = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
        kernels->flip(a, bits, count);
        kernels_scalar.flip(b, bits, count);
        kernels->hadamard(a, count);
        kernels_scalar.hadamard(b, count);
        ck_assert(memcmp(a, b, count * sizeof(float)) == 0);
        float max = kernels_scalar.max_abs(a, count);
        ck_assert_float_eq(kernels->max_abs(a, count), max);
        kernels->quantise(a, 127 / max, codes, count);
        kernels_scalar.quantise(a, 127 / max, expected, count);
        ck_assert(memcmp(codes, expected, count) == 0);
        ck_assert_int_eq(kernels->decode(rows.codes, 0, codes, count),
                         kernels_scalar.decode(rows.codes, 0, expected, count));
        ck_assert(memcmp(codes, expected, count) == 0);
        free(codes);
        free(expected);
    }
    free_rows(&rows);
}
END_TEST

/* The widest rows with the largest numbers stay within 32 bits. */
START_TEST(does_not_overflow_at_65536_dimensions) {
    const struct kernels *kernels = kernels_by_name(names[_i]);
    if (!kernels)
        return;
    uint8_t *row = aligned_alloc(64, BYTES_MAX);
    int8_t *codes = aligned_alloc(64, BYTES_MAX);
    const uint8_t *list[5] = {row, row, row, row, row};
    for (int sign = -1; sign <= 1; sign += 2) {
        int32_t dots[5];
        memset(row, 255, BYTES_MAX);
        memset(codes, sign * 127, BYTES_MAX);
        struct kernel_query query = {
            .codes = codes, .bytes = BYTES_MAX, .offset = sign * 128 * 127 * BYTES_MAX};
        kernels->dot_rows(&query, list, 5, dots);
        for (int i = 0; i < 5; i++)
            ck_assert_int_eq(dots[i], sign * 127 * 127 * BYTES_MAX);
    }
    free(row);
    free(codes);
}
END_TEST

START_TEST(takes_the_set_that_the_environment_forces) {
    setenv("NIGH__INDEX__ISA", names[_i], 1);
    const struct kernels *forced = kernels_by_name(names[_i]);
    ck_assert_str_eq(kernels_get()->name, forced ? names[_i] : "scalar");
}
END_TEST

START_TEST(takes_the_best_set_by_itself) {
    unsetenv("NIGH__INDEX__ISA");
    const char *best = kernels_by_name("avx512") ? "avx512"
                       : kernels_by_name("avx2") ? "avx2"
                       : kernels_by_name("neon") ? "neon"
                                                 : "scalar";
    ck_assert_str_eq(kernels_get()->name, best);
    ck_assert_ptr_null(kernels_by_name("mmx"));
}
END_TEST

/* ---- Text ----------------------------------------------------------------------------------- */

/* Many texts of many forms, from memory of their very length, against strtod(). */
START_TEST(decimals_are_those_of_strtod) {
    enum {
        TEXT_BYTES = 700,
        FOUND_MAX = 200
    };
    const struct kernels *kernels = kernels_by_name(names[_i]);
    if (!kernels)
        return;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        char list[TEXT_BYTES + 64], *text = malloc(TEXT_BYTES);
        struct kernel_decimal found[FOUND_MAX];
        const char *behind;
        size_t used = 0, max = 1 + (size_t)rand() % FOUND_MAX;
        while (used < TEXT_BYTES)
            used +=
                (size_t)sprintf(list + used, "%s%.*f,%s", rand() % 2 ? "-" : "", 1 + rand() % 18,
                                uniform() * (rand() % 2 ? 0.9 : 9.4), rand() % 2 ? " " : "");
        if (round % 2)
            list[rand() % TEXT_BYTES] = "x],.e- \0"[rand() % 8];
        memcpy(text, list, TEXT_BYTES);
        list[TEXT_BYTES] = '\0';
        size_t count = kernels->decimals(text, text + TEXT_BYTES, found, max, &behind);
        const char *at = text;
        for (size_t i = 0; i < count; i++) {
            const struct kernel_decimal *decimal = &found[i];
            ck_assert_ptr_eq(text + decimal->begin, at + (*at == ' '));
            char *end;
            double expected = strtod(list + decimal->begin, &end);
            double value = (double)decimal->digits / pow(10, decimal->places);
            ck_assert_int_eq(*end, ',');
            ck_assert_int_eq(signbit(expected) != 0, decimal->is_negative);
            ck_assert(fabs(fabs(expected) - value) <= 1e-15 * value);
            at = text + (end - list) + 1;
        }
        ck_assert_ptr_eq(at, behind);
        /* It stopped for a reason. */
        bool is_near_end = text + TEXT_BYTES - behind <= KERNELS_DECIMAL_MARGIN;
        ck_assert(count == max || is_near_end || round % 2);
        free(text);
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("kernels");
    TCase *tcase = tcase_create("kernels");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, sums_rows_like_plain_c, 0, NAMES * WIDTHS);
    tcase_add_loop_test(tcase, multiplies_split_rows, 0, NAMES * WIDTHS);
    tcase_add_loop_test(tcase, multiplies_several_queries_in_one_pass, 0, NAMES * WIDTHS);
    tcase_add_loop_test(tcase, weighs_rows_like_plain_c, 0, NAMES);
    tcase_add_loop_test(tcase, compares_with_a_limit_like_plain_c, 0, NAMES);
    tcase_add_loop_test(tcase, ranks_hits, 0, NAMES);
    tcase_add_loop_test(tcase, measures_floats_like_plain_c, 0, NAMES);
    tcase_add_loop_test(tcase, transforms_to_the_same_bits_as_plain_c, 0, NAMES);
    tcase_add_loop_test(tcase, does_not_overflow_at_65536_dimensions, 0, NAMES);
    tcase_add_loop_test(tcase, takes_the_set_that_the_environment_forces, 0, NAMES);
    tcase_add_loop_test(tcase, decimals_are_those_of_strtod, 0, NAMES);
    tcase_add_test(tcase, takes_the_best_set_by_itself);
    suite_add_tcase(suite, tcase);
    return suite;
}
