#include "storage/utf8.h"

#include "tests/support/run_suite.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Encodes any number below 2^21 the way UTF-8 would, legal or not. */
static size_t encode(uint32_t code, size_t length, char *out) {
    static const unsigned char firsts[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(firsts[length] | code);
    return length;
}

static size_t proper_length(uint32_t code) {
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

START_TEST(takes_each_character_in_its_shortest_form_only) {
    static const uint32_t ends[] = {0, 0x80, 0x800, 0x10000, 0x200000};
    uint32_t wrong = 0;
    char text[16];
    for (size_t length = 1; length <= 4; length++) {
        for (uint32_t code = 0; code < ends[length]; code++) {
            encode(code, length, text);
            bool is_legal = length == proper_length(code) && code <= 0x10ffff &&
                            (code < 0xd800 || code > 0xdfff);
            wrong += utf8_is_valid(text, length) != is_legal;
        }
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(a_character_that_is_cut_or_broken_is_refused_wherever_it_stands) {
    static const uint32_t codes[] = {0xe9, 0x20ac, 0x1f600};
    char text[32];
    uint32_t wrong = 0;
    for (size_t before = 0; before < 20; before++) {
        for (size_t i = 0; i < COUNT_OF(codes); i++) {
            size_t length = proper_length(codes[i]);
            memset(text, 'x', sizeof(text));
            encode(codes[i], length, text + before);
            wrong += !utf8_is_valid(text, before + length);
            wrong += !utf8_is_valid(text, sizeof(text));
            for (size_t cut = 1; cut < length; cut++) {
                wrong += utf8_is_valid(text, before + cut);
                char kept = text[before + cut];
                text[before + cut] = 'x';
                wrong += utf8_is_valid(text, before + length);
                text[before + cut] = kept;
            }
        }
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(bytes_that_begin_no_character_are_refused) {
    for (int byte = 0x80; byte < 0x100; byte++) {
        const char text[] = {(char)byte, 'a'};
        ck_assert(!utf8_is_valid(text, 2));
    }
    ck_assert(utf8_is_valid("", 0));
    ck_assert(utf8_is_valid("a\0b", 3));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("utf8");
    TCase *tcase = tcase_create("utf8");
    tcase_add_test(tcase, takes_each_character_in_its_shortest_form_only);
    tcase_add_test(tcase, a_character_that_is_cut_or_broken_is_refused_wherever_it_stands);
    tcase_add_test(tcase, bytes_that_begin_no_character_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
