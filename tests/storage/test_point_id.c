#include "storage/point_id.h"

#include "tests/support/run_suite.h"

#include <check.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char uuid_text[] = "936da01f-9abd-4d9d-80c7-02af85c822a8";

static const struct {
    const char *text;
    enum point_id_kind kind;
} strings[] = {
    {"936da01f-9abd-4d9d-80c7-02af85c822a8", POINT_ID_UUID},
    {"936DA01F-9ABD-4D9D-80C7-02AF85C822A8", POINT_ID_UUID},
    {"936da01f9abd4d9d80c702af85c822a8", POINT_ID_UUID},
    {"936da01F9ABD4d9d80c702af85c822a8", POINT_ID_UUID},
    {"urn:uuid:936da01f-9abd-4d9d-80c7-02af85c822a8", POINT_ID_UUID},
    {"{936da01f-9abd-4d9d-80c7-02af85c822a8}", POINT_ID_UUID},
    {"936da01f-9abd-4d9d-80c7-02af85c822ag", POINT_ID_TEXT},
    {"936da01f-9abd-4d9d-80c702af-85c822a8", POINT_ID_TEXT},
    {"936da01f9abd4d9d80c702af85c822a", POINT_ID_TEXT},
    {"936da01f9abd4d9d80c702af85c822a80", POINT_ID_TEXT},
    {"{936da01f9abd4d9d80c702af85c822a8}", POINT_ID_TEXT},
    {"urn:uuid:936da01f9abd4d9d80c702af85c822a8", POINT_ID_TEXT},
    {"-936da01f-9abd-4d9d-80c702af85c822a8", POINT_ID_TEXT},
    {"7", POINT_ID_TEXT},
    {"a", POINT_ID_TEXT},
    {"\xc3\xa9t\xc3\xa9", POINT_ID_TEXT},
};

START_TEST(tells_uuids_from_texts) {
    struct point_id id;
    const char *text = strings[_i].text;
    ck_assert(point_id_from_string(text, strlen(text), &id));
    ck_assert_int_eq(id.kind, strings[_i].kind);
    if (id.kind == POINT_ID_UUID) {
        char canonical[POINT_ID_UUID_TEXT];
        point_id_uuid_text(id.uuid, canonical);
        ck_assert_mem_eq(canonical, uuid_text, POINT_ID_UUID_TEXT);
    } else {
        ck_assert_ptr_eq(id.text, text);
        ck_assert_uint_eq(id.text_length, strlen(text));
    }
}
END_TEST

START_TEST(takes_texts_of_1_to_255_bytes_of_utf8_without_nul) {
    char text[POINT_ID_TEXT_MAX + 1];
    struct point_id id;
    memset(text, 'x', sizeof(text));
    ck_assert(point_id_from_string(text, 1, &id));
    ck_assert(point_id_from_string(text, POINT_ID_TEXT_MAX, &id));
    ck_assert(!point_id_from_string(text, POINT_ID_TEXT_MAX + 1, &id));
    ck_assert(!point_id_from_string(text, 0, &id));
    ck_assert(!point_id_from_string("a\0b", 3, &id));
    ck_assert(!point_id_from_string("a\xff", 2, &id));
    ck_assert(!point_id_from_string("\xed\xa0\x80", 3, &id)); /* half a surrogate pair */
    ck_assert(!point_id_from_string("\xc0\xaf", 2, &id));     /* overlong */
}
END_TEST

static struct point_id number(uint64_t value) {
    return (struct point_id){.kind = POINT_ID_NUMBER, .number = value};
}

static struct point_id string(const char *text) {
    struct point_id id;
    ck_assert(point_id_from_string(text, strlen(text), &id));
    return id;
}

/* Ascending. */
static size_t make_ids(struct point_id *ids) {
    static const uint64_t numbers[] = {
        0, 1, 255, 256, (1u << 31) + 1u, UINT64_C(9007199254740993), UINT64_MAX - 1, UINT64_MAX};
    static const char *const texts[] = {"00000000000000000000000000000000",
                                        "00000000-0000-0000-0000-000000000001",
                                        "936da01f-9abd-4d9d-80c7-02af85c822a8",
                                        "ffffffffffffffffffffffffffffffff",
                                        "0",
                                        "10",
                                        "9",
                                        "a",
                                        "a ",
                                        "aa",
                                        "b",
                                        "\xc3\xa9"};
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        ids[count++] = number(numbers[i]);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        ids[count++] = string(texts[i]);
    return count;
}

START_TEST(keys_have_the_order_of_ids_and_come_back) {
    struct point_id ids[32], back;
    uint8_t keys[32][POINT_ID_KEY_MAX];
    size_t lengths[32], count = make_ids(ids);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = point_id_key(&ids[i], keys[i]);
        ck_assert(point_id_from_key(keys[i], lengths[i], &back));
        ck_assert_int_eq(point_id_compare(&ids[i], &back), 0);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            size_t shorter = lengths[i] < lengths[j] ? lengths[i] : lengths[j];
            int by_key = memcmp(keys[i], keys[j], shorter);
            if (by_key == 0)
                by_key = (lengths[i] > lengths[j]) - (lengths[i] < lengths[j]);
            int by_id = point_id_compare(&ids[i], &ids[j]);
            ck_assert_int_eq((by_key > 0) - (by_key < 0), (i > j) - (i < j));
            ck_assert_int_eq((by_id > 0) - (by_id < 0), (i > j) - (i < j));
        }
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t length;
} bad_keys[] = {
    {"", 0},
    {"\0\0\0\0\0\0\0\0", 8},
    {"\0\0\0\0\0\0\0\0\0\0", 10},
    {"\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16},
    {"\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18},
    {"\2", 1},
    {"\2a\0b", 4},
    {"\2\xff", 2},
    {"\3a", 2},
};

START_TEST(refuses_keys_that_are_none) {
    struct point_id id;
    ck_assert(!point_id_from_key(bad_keys[_i].bytes, bad_keys[_i].length, &id));
}
END_TEST

START_TEST(copies_texts_into_the_arena) {
    struct arena arena;
    char text[] = "name";
    struct point_id id = string(text), copy;
    arena_init(&arena, 1 << 16);
    ck_assert(point_id_copy(&id, &arena, &copy));
    text[0] = 'g';
    ck_assert_mem_eq(copy.text, "name", 4);
    arena_free(&arena);
    arena_init(&arena, 1);
    ck_assert(!point_id_copy(&id, &arena, &copy));
    id = number(7);
    ck_assert(point_id_copy(&id, &arena, &copy));
    ck_assert_uint_eq(copy.number, 7);
    arena_free(&arena);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("point_id");
    TCase *tcase = tcase_create("point_id");
    tcase_add_loop_test(tcase, tells_uuids_from_texts, 0, (int)COUNT_OF(strings));
    tcase_add_test(tcase, takes_texts_of_1_to_255_bytes_of_utf8_without_nul);
    tcase_add_test(tcase, keys_have_the_order_of_ids_and_come_back);
    tcase_add_loop_test(tcase, refuses_keys_that_are_none, 0, (int)COUNT_OF(bad_keys));
    tcase_add_test(tcase, copies_texts_into_the_arena);
    suite_add_tcase(suite, tcase);
    return suite;
}
