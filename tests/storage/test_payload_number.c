#include "storage/payload_value.h"

#include "tests/support/run_suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Ascending; numbers of one rank are equal. */
static const struct {
    const char *text;
    int rank;
    bool is_integer;
} numbers[] = {
    {"-1e400", 0, false},
    {"-1.7976931348623157e308", 0, false},
    {"-1e308", 1, false},
    {"-9223372036854775809", 2, false}, /* no i64: the nearest double, which is -2^63 */
    {"-9223372036854775808", 2, true},
    {"-9.223372036854775808e18", 2, false},
    {"-9223372036854775807", 3, true},
    {"-9007199254740993", 4, true},
    {"-9007199254740992", 5, true},
    {"-9007199254740991", 6, true},
    {"-5.5", 7, false},
    {"-5", 8, true},
    {"-5.0", 8, false},
    {"-1", 9, true},
    {"-5e-324", 10, false},
    {"0", 11, true},
    {"-0", 11, true},
    {"0.0", 11, false},
    {"-0.0", 11, false},
    {"0e10", 11, false},
    {"1e-400", 11, false},
    {"5e-324", 12, false},
    {"0.1", 13, false},
    {"0.10000000000000001", 13, false},
    {"1.0000000000000000000000000000000000000001e-1", 13, false},
    {"0.5", 14, false},
    {"1", 15, true},
    {"1.0", 15, false},
    {"10e-1", 15, false},
    {"5", 16, true},
    {"5.0", 16, false},
    {"0.5e1", 16, false},
    {"5E+0", 16, false},
    {"5.000000000000001", 17, false},
    {"9007199254740991", 18, true},
    {"9007199254740992", 19, true},
    {"9007199254740993.0", 19, false}, /* a decimal is the nearest double */
    {"9007199254740993", 20, true},
    {"9007199254740994", 21, true},
    {"9223372036854775806", 22, true},
    {"9223372036854775807", 23, true},
    {"9223372036854775808", 24, true},
    {"9223372036854775809", 25, true},
    {"18446744073709549568", 26, true},
    {"18446744073709549569", 27, true},
    {"18446744073709551614", 28, true},
    {"18446744073709551615", 29, true},
    {"18446744073709551616", 30, false},
    {"1.8446744073709551616e19", 30, false},
    {"1e308", 31, false},
    {"1.7976931348623157e308", 32, false},
    {"1e400", 32, false},
    {"1e99999999999999999999", 32, false},
};

static struct payload_number parse(const char *text) {
    return payload_number_from_text(text, strlen(text));
}

static int sign(int value) {
    return (value > 0) - (value < 0);
}

START_TEST(numbers_have_the_order_of_the_reals) {
    struct payload_number a = parse(numbers[_i].text);
    ck_assert_int_eq(a.is_integer, numbers[_i].is_integer);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        struct payload_number b = parse(numbers[i].text);
        int expected = sign(numbers[_i].rank - numbers[i].rank);
        ck_assert_msg(sign(payload_number_compare(&a, &b)) == expected, "%s and %s",
                      numbers[_i].text, numbers[i].text);
    }
}
END_TEST

static uint64_t random_u64(void) {
    uint64_t value = 0;
    for (int i = 0; i < 5; i++)
        value = value << 15 ^ (uint64_t)rand();
    return value >> rand() % 64;
}

START_TEST(integers_keep_their_order_and_their_value) {
    srand((unsigned)_i);
    for (int i = 0; i < 100000; i++) {
        uint64_t a = random_u64(), b = rand() % 2 ? random_u64() : a + (uint64_t)(rand() % 3);
        struct payload_number x = payload_number_from_u64(a), y = payload_number_from_u64(b);
        ck_assert_int_eq(sign(payload_number_compare(&x, &y)), (a > b) - (a < b));
        int64_t c = (int64_t)a, d = (int64_t)b;
        x = payload_number_from_i64(c);
        y = payload_number_from_i64(d);
        ck_assert_int_eq(sign(payload_number_compare(&x, &y)), (c > d) - (c < d));
        char text[32];
        snprintf(text, sizeof(text), "%lld", (long long)c);
        y = parse(text);
        ck_assert_mem_eq(x.key, y.key, sizeof(x.key));
        ck_assert(y.is_integer);
    }
}
END_TEST

START_TEST(decimals_are_read_as_strtod_reads_them) {
    srand((unsigned)_i + 100);
    for (int i = 0; i < 100000; i++) {
        char text[64];
        uint64_t bits = random_u64();
        double value;
        memcpy(&value, &bits, sizeof(value));
        switch (rand() % 4) {
        case 0:
            if (!isfinite(value))
                continue;
            snprintf(text, sizeof(text), "%.*g", 1 + rand() % 20, value);
            break;
        case 1:
            snprintf(text, sizeof(text), "%llu.%u", (unsigned long long)random_u64(),
                     (unsigned)rand());
            break;
        case 2:
            snprintf(text, sizeof(text), "-%u.%ue%d", (unsigned)rand() % 1000, (unsigned)rand(),
                     rand() % 700 - 350);
            break;
        default:
            snprintf(text, sizeof(text), "%llue%d", (unsigned long long)random_u64(),
                     rand() % 60 - 30);
            break;
        }
        value = strtod(text, NULL);
        if (isinf(value))
            value = copysign(1.7976931348623157e308, value);
        struct payload_number read = parse(text), expected = payload_number_from_f64(value);
        if (read.is_integer)
            continue; /* exact beyond what a double is */
        ck_assert_msg(memcmp(read.key, expected.key, sizeof(read.key)) == 0, "%s", text);
    }
}
END_TEST

START_TEST(digits_beyond_any_buffer_still_round_correctly) {
    enum {
        DIGITS = 5000
    };
    static char text[DIGITS + 16];
    struct payload_number low, high, half;
    /* 2^53 + 1 lies halfway between two doubles and is rounded to the even one, below; a 1 after
     * thousands of zeros tips it to the one above. */
    int used = sprintf(text, "9007199254740993.");
    memset(text + used, '0', DIGITS - (size_t)used);
    half = payload_number_from_text(text, DIGITS);
    text[DIGITS - 1] = '1';
    high = payload_number_from_text(text, DIGITS);
    low = parse("9007199254740992.0");
    ck_assert_int_eq(payload_number_compare(&half, &low), 0);
    ck_assert_int_gt(payload_number_compare(&high, &low), 0);
    /* 0.000...5 and 5000...0 */
    memset(text, '0', DIGITS);
    text[1] = '.';
    text[DIGITS - 1] = '5';
    low = payload_number_from_text(text, DIGITS);
    half = parse("0");
    ck_assert_int_eq(payload_number_compare(&low, &half), 0);
    memset(text, '0', DIGITS);
    text[0] = '5';
    used = sprintf(text + DIGITS, "e-%d", DIGITS - 1);
    low = payload_number_from_text(text, DIGITS + (size_t)used);
    half = parse("5.0");
    ck_assert_int_eq(payload_number_compare(&low, &half), 0);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_number");
    TCase *tcase = tcase_create("payload_number");
    tcase_add_loop_test(tcase, numbers_have_the_order_of_the_reals, 0, (int)COUNT_OF(numbers));
    tcase_add_loop_test(tcase, integers_keep_their_order_and_their_value, 0, 3);
    tcase_add_loop_test(tcase, decimals_are_read_as_strtod_reads_them, 0, 3);
    tcase_add_test(tcase, digits_beyond_any_buffer_still_round_correctly);
    suite_add_tcase(suite, tcase);
    return suite;
}
