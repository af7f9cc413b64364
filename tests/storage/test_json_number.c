/* Numbers from text, against strtof() and strtod(), which glibc rounds correctly. */
#include "storage/json_number.h"

#include "tests/support/run_suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(list) ((int)(sizeof(list) / sizeof((list)[0])))

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Asserts only what is wrong: libcheck reports each assertion over a pipe. */
static void check(const char *text) {
    struct json_number number;
    float single = 0;
    double real = 0;
    size_t length = strlen(text);
    if (json_number_scan(text, text + length, &number) != text + length)
        ck_abort_msg("%s is not read as a number", text);
    float expected_single = strtof(text, NULL);
    double expected_real = strtod(text, NULL);
    bool fits_single = json_number_to_f32(&number, text, length, &single);
    bool fits_real = json_number_to_f64(&number, text, length, &real);
    if (fits_single != (bool)isfinite(expected_single) ||
        fits_real != (bool)isfinite(expected_real))
        ck_abort_msg("%s: fits f32 %d, f64 %d", text, fits_single, fits_real);
    if (fits_single && memcmp(&single, &expected_single, sizeof(single)) != 0)
        ck_abort_msg("%s: %a, not %a", text, (double)single, (double)expected_single);
    if (fits_real && memcmp(&real, &expected_real, sizeof(real)) != 0)
        ck_abort_msg("%s: %a, not %a", text, real, expected_real);
}

/* Random digits, point and exponent: most are of the lengths that vectors have. */
static void random_text(char *out) {
    int digits = 1 + (int)(next_random() % (next_random() % 20 == 0 ? 60 : 20));
    int point = (int)(next_random() % (uint64_t)(digits + 1));
    if (next_random() & 1)
        *out++ = '-';
    if (point == 0)
        *out++ = '0';
    for (int i = 0; i < digits; i++) {
        if (i == point)
            *out++ = '.';
        char digit = (char)('0' + next_random() % 10);
        *out++ = i == 0 && point > 1 && digit == '0' ? '1' : digit;
    }
    if (next_random() % 3 == 0)
        out += sprintf(out, "%c%s%d", next_random() & 1 ? 'e' : 'E', next_random() & 1 ? "" : "-",
                       (int)(next_random() % (next_random() % 8 == 0 ? 400 : 40)));
    *out = '\0';
}

START_TEST(random_texts_are_rounded_as_by_strtod) {
    char text[160];
    state += (uint64_t)_i * 7919;
    for (int i = 0; i < 700000; i++) {
        random_text(text);
        check(text);
    }
}
END_TEST

/* Texts that lie on, and a hair beside, the middle between two floats. */
START_TEST(halfway_cases_are_rounded_as_by_strtod) {
    char text[400];
    for (int i = 0; i < 100000; i++) {
        uint32_t bits = (uint32_t)next_random() & 0x7fffffff;
        float low, high;
        memcpy(&low, &bits, sizeof(low));
        bits++;
        memcpy(&high, &bits, sizeof(high));
        if (!isfinite(low) || !isfinite(high))
            continue;
        double middle = ((double)low + (double)high) / 2;
        int precision = (int)(next_random() % 30);
        snprintf(text, sizeof(text), "%.*e", precision, middle);
        check(text);
        snprintf(text, sizeof(text), "%.160g", middle);
        check(text);
        size_t length = strlen(text);
        if (strchr(text, '.') && !strchr(text, 'e')) {
            strcpy(text + length, "0000000000000000000000000000000001");
            check(text);
        }
    }
}
END_TEST

START_TEST(every_float_reads_back_from_nine_digits) {
    char text[64];
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)next_random();
        float value;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        snprintf(text, sizeof(text), "%.9g", (double)value);
        char *exponent = strstr(text, "e+");
        if (exponent) /* "1e+30" is JSON too, but let both forms be read */
            memmove(exponent + 1, exponent + 2, strlen(exponent + 2) + 1);
        check(text);
    }
}
END_TEST

static const char *const particular[] = {
    "0",
    "-0",
    "0.0",
    "-0.0e5",
    "0e999999999999999999999",
    "1",
    "-1",
    "16777216",
    "16777217",
    "16777219",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "3.4028234663852886e38",
    "3.4028235677973366e38",
    "3.4028235677973367e38",
    "3.5e38",
    "1e39",
    "-1e39",
    "1e308",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "1e309",
    "1e400",
    "1.17549435e-38",
    "1.1754942e-38",
    "1.4e-45",
    "7e-46",
    "7.1e-46",
    "1e-46",
    "1e-323",
    "4.9e-324",
    "2.4e-324",
    "2.5e-324",
    "1e-400",
    "1e-999999999999",
    "1e999999999999999999999999",
    "2.2250738585072011e-308",
    "2.2250738585072012e-308",
    "0.1",
    "0.3",
    "1e22",
    "1e23",
    "8.589973e9",
    "123456789012345678901234567890",
    "0.000000000000000000000000000000000000001",
    "99999999999999999999",
    "1234567890.12345678901234567890",
};

START_TEST(particular_texts_are_rounded_as_by_strtod) {
    check(particular[_i]);
}
END_TEST

/* More digits than any buffer keeps: the last one decides. */
START_TEST(thousands_of_digits_are_not_cut_off) {
    static char text[6000];
    /* 1 + 2^-24 lies halfway between 1 and the next float. */
    int used = snprintf(text, sizeof(text), "%.200f", 1 + 0x1p-24);
    memset(text + used, '0', 5000);
    text[used + 5000] = '\0';
    check(text);
    text[used + 4999] = '1';
    check(text);
    memset(text, '0', 5500);
    text[1] = '.';
    strcpy(text + 5500, "123e5500");
    check(text);
    memset(text, '9', 5000);
    strcpy(text + 5000, "e-5000");
    check(text);
}
END_TEST

static const struct {
    const char *text;
    bool is_u64, is_i64;
} whole[] = {
    {"0", true, true},
    {"-0", false, true},
    {"9223372036854775807", true, true},
    {"9223372036854775808", true, false},
    {"-9223372036854775808", false, true},
    {"-9223372036854775809", false, false},
    {"9007199254740993", true, true},
    {"18446744073709551615", true, false},
    {"18446744073709551616", false, false},
    {"18446744073709551625", false, false},
    {"99999999999999999999", false, false},
    {"100000000000000000000", false, false},
    {"1.0", false, false},
    {"1e2", false, false},
    {"-5", false, true},
};

START_TEST(whole_numbers_are_exact_or_refused) {
    struct json_number number;
    uint64_t positive = 0;
    int64_t negative = 0;
    const char *text = whole[_i].text;
    size_t length = strlen(text);
    ck_assert_ptr_nonnull(json_number_scan(text, text + length, &number));
    ck_assert_int_eq(json_number_to_u64(&number, text, length, &positive), whole[_i].is_u64);
    ck_assert_int_eq(json_number_to_i64(&number, text, length, &negative), whole[_i].is_i64);
    if (whole[_i].is_u64)
        ck_assert_uint_eq(positive, strtoull(text, NULL, 10));
    if (whole[_i].is_i64)
        ck_assert_int_eq(negative, strtoll(text, NULL, 10));
}
END_TEST

static const char *const refused[] = {
    "",    "-",   "+1", "01", "-01", "00",  ".5",       "-.5",       "1.",   "1.e5", "1e",
    "1e+", "1E-", "e5", "-e", "0.",  "NaN", "Infinity", "-Infinity", "0x10", "--1",  "١",
};

/* Some begin with a number: what follows is then not part of it. */
START_TEST(what_is_no_number_is_refused) {
    struct json_number number;
    const char *text = refused[_i];
    const char *end = json_number_scan(text, text + strlen(text), &number);
    ck_assert_msg(!end || *end != '\0', "%s", text);
}
END_TEST

/* ---- Many at once -----------------------------------------------------------------------------
 */

/* Reads all numbers of a list, from memory of its very length, and compares them with strtof().
 * Returns how many were read as the usual ones are. */
static size_t check_list(const char *list) {
    size_t length = strlen(list), usual = 0;
    char *text = malloc(length);
    ck_assert_ptr_nonnull(text);
    memcpy(text, list, length);
    const char *at = text, *end = text + length;
    while (at < end) {
        enum {
            ROOM = 7
        };
        float values[ROOM];
        size_t count;
        const char *behind = json_number_read_usual(at, end, values, ROOM, &count);
        ck_assert_uint_le(count, ROOM);
        usual += count;
        for (size_t i = 0; i < count; i++) {
            float expected = strtof(list + (at - text), NULL);
            if (memcmp(&values[i], &expected, sizeof(expected)) != 0)
                ck_abort_msg("%.30s: %a, not %a", list + (at - text), (double)values[i],
                             (double)expected);
            at = (const char *)memchr(at, ',', (size_t)(end - at)) + 1;
        }
        ck_assert_ptr_eq(at, behind);
        if (count > 0)
            continue;
        const char *comma = memchr(at, ',', (size_t)(end - at));
        at = comma ? comma + 1 : end;
        while (at < end && *at == ' ')
            at++;
    }
    free(text);
    return usual;
}

START_TEST(lists_of_any_numbers_are_read_as_by_strtof) {
    for (int i = 0; i < 2000; i++) {
        char list[100 * 160], *at = list;
        for (int n = 0; n < 100; n++) {
            random_text(at);
            at += strlen(at);
            at += sprintf(at, n == 99 ? "" : next_random() & 1 ? "," : ", ");
        }
        check_list(list);
    }
}
END_TEST

/* What printf() makes of vectors is read the quick way, but for the last ones and a rare one that
 * is hard to round. */
START_TEST(lists_of_usual_numbers_are_read_at_once) {
    static const char *const forms[] = {"%.6f", "%.8f", "%.9f", "%.15f", "%.17f", "%.18f"};
    enum {
        COUNT_EACH = 10000,
        OTHERS_MAX = 40 /* in the last bytes, and what is hard to round */
    };
    static char list[COUNT_EACH * 32];
    for (size_t form = 0; form < (size_t)COUNT(forms); form++) {
        char *at = list;
        for (int i = 0; i < COUNT_EACH; i++) {
            double value = (double)(next_random() >> 11) * 0x1p-53 - 0.5;
            at += sprintf(at, forms[form], value * (i % 3 == 0 ? 1 : 10));
            at += sprintf(at, i == COUNT_EACH - 1 ? "" : form & 1 ? "," : ", ");
        }
        size_t usual = check_list(list);
        ck_assert_msg(usual >= COUNT_EACH - OTHERS_MAX, "%s: %zu", forms[form], usual);
    }
}
END_TEST

/* Each with digits and more behind, so that it is not too near the end. */
static const char *const unusual[] = {
    "01.5,",
    "1.,",
    ".5,",
    "1.5e3,",
    "1.5E3,",
    "+1.5,",
    "--1.5,",
    "1.5.2,",
    "1.5 ,",
    "12.5,",
    "1,",
    "-,",
    "1.5]",
    "1.5;",
    "x.5,",
    "1.x,",
    "1.5\x00,",
    "1.0000000000000000000,",
    "0.00000000000000000001,",
    "/.5,",
    ":.5,",
};

START_TEST(a_list_is_left_at_what_is_not_usual) {
    char list[256];
    float values[4];
    size_t count;
    memset(list, ',', sizeof(list));
    int length = snprintf(list, sizeof(list), "0.25, %s", unusual[_i]);
    memcpy(list + length + 1, "0.5,0.5", strlen("0.5,0.5"));
    const char *behind = json_number_read_usual(list, list + sizeof(list), values, 4, &count);
    ck_assert_uint_eq(count, 1);
    ck_assert_float_eq(values[0], 0.25f);
    ck_assert_ptr_eq(behind, list + strlen("0.25,"));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("json_number");
    TCase *tcase = tcase_create("json_number");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, random_texts_are_rounded_as_by_strtod, 0, 3);
    tcase_add_test(tcase, halfway_cases_are_rounded_as_by_strtod);
    tcase_add_test(tcase, every_float_reads_back_from_nine_digits);
    tcase_add_loop_test(tcase, particular_texts_are_rounded_as_by_strtod, 0, COUNT(particular));
    tcase_add_test(tcase, thousands_of_digits_are_not_cut_off);
    tcase_add_loop_test(tcase, whole_numbers_are_exact_or_refused, 0, COUNT(whole));
    tcase_add_loop_test(tcase, what_is_no_number_is_refused, 0, COUNT(refused));
    tcase_add_test(tcase, lists_of_any_numbers_are_read_as_by_strtof);
    tcase_add_test(tcase, lists_of_usual_numbers_are_read_at_once);
    tcase_add_loop_test(tcase, a_list_is_left_at_what_is_not_usual, 0, COUNT(unusual));
    suite_add_tcase(suite, tcase);
    return suite;
}
