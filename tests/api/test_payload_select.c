/* Parts of payloads: the forms of with_payload, and what each shows. */
#include "api/json_writer.h"
#include "api/payload_select.h"

#include "tests/support/run_suite.h"

#include <string.h>

static struct arena arena;
static struct error error;

static void setup(void) {
    arena_init(&arena, 4u << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

static enum status read_select(const char *text, struct payload_select *select) {
    struct json_reader reader;
    *select = (struct payload_select){.kind = PAYLOAD_SELECT_NONE};
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    enum status status = payload_select_json.read(&reader, select);
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

#define PAYLOAD                                                                                 \
    "{\"a\":{\"b\":1,\"c\":2},\"aa\":{\"b\":3},\"a.b\":4,\"l\":[{\"b\":5.0,\"c\":6},{\"b\":7}," \
    "8],\"s\":\"x\"}"

/* The first rows are the examples of qdrant-client's local mode. */
static const struct {
    const char *select, *expected;
} cases[] = {
    {"true", PAYLOAD},
    {"[\"a.b\"]", "{\"a\":{\"b\":1}}"},
    {"[\"\\\"a.b\\\"\",\"l[].c\"]", "{\"a.b\":4,\"l\":[{\"c\":6},{},8]}"},
    {"{\"exclude\":[\"a\",\"l[].b\"]}",
     "{\"aa\":{\"b\":3},\"a.b\":4,\"l\":[{\"c\":6},{},8],\"s\":\"x\"}"},
    {"[]", "{}"},
    {"{\"include\":[]}", "{}"},
    {"{\"exclude\":[]}", PAYLOAD},
    {"[\"missing\"]", "{}"},
    {"[\"a\",\"a.b\"]", "{\"a\":{\"b\":1,\"c\":2}}"},
    {"[\"a.b\",\"a\"]", "{\"a\":{\"b\":1,\"c\":2}}"},
    {"[\"a.c\",\"a.b\"]", "{\"a\":{\"b\":1,\"c\":2}}"},
    {"[\"l\"]", "{\"l\":[{\"b\":5.0,\"c\":6},{\"b\":7},8]}"},
    {"[\"l[]\"]", "{\"l\":[{\"b\":5.0,\"c\":6},{\"b\":7},8]}"},
    {"[\"l.b\"]", "{\"l\":[]}"},
    {"[\"l[0]\"]", "{\"l\":[]}"},
    {"[\"s.t\"]", "{\"s\":\"x\"}"},
    {"{\"exclude\":[\"l[]\",\"s\"]}",
     "{\"a\":{\"b\":1,\"c\":2},\"aa\":{\"b\":3},\"a.b\":4,\"l\":[]}"},
    {"{\"exclude\":[\"a.b\",\"aa\",\"l\",\"\\\"a.b\\\"\"]}", "{\"a\":{\"c\":2},\"s\":\"x\"}"},
    {"{\"include\":[\"s\"],\"exclude\":null}", "{\"s\":\"x\"}"},
};

START_TEST(a_selection_shows_its_part) {
    const struct json_text payload = {PAYLOAD, sizeof(PAYLOAD) - 1};
    struct payload_select select;
    struct json_writer writer;
    ck_assert_msg(read_select(cases[_i].select, &select) == STATUS_OK, "%s", error.message);
    json_writer_init(&writer, &arena);
    ck_assert_int_eq(payload_select_write(&select, payload, &arena, &writer, &error), STATUS_OK);
    ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
    ck_assert_msg(writer.length == strlen(cases[_i].expected) &&
                      memcmp(writer.text, cases[_i].expected, writer.length) == 0,
                  "%s shows %.*s, not %s", cases[_i].select, (int)writer.length, writer.text,
                  cases[_i].expected);
}
END_TEST

static const char *const refused[] = {
    "1",
    "\"a\"",
    "{}",
    "{\"include\":[\"a\"],\"exclude\":[\"b\"]}",
    "{\"includes\":[\"a\"]}",
    "[1]",
    "[\"a..b\"]",
    "[\"\"]",
    "{\"include\":\"a\"}",
    "{\"include\":[\"a\"],\"x\":1}",
};

START_TEST(another_form_is_refused) {
    struct payload_select select;
    ck_assert_int_eq(read_select(refused[_i], &select), STATUS_FORMAT);
}
END_TEST

START_TEST(a_list_of_paths_has_a_limit) {
    static char text[PAYLOAD_SELECT_PATHS_MAX * 6 + 16] = "[";
    struct payload_select select;
    for (int i = 0; i < PAYLOAD_SELECT_PATHS_MAX; i++)
        strcat(text, i ? ",\"a\"" : "\"a\"");
    size_t length = strlen(text);
    strcpy(text + length, "]");
    ck_assert_int_eq(read_select(text, &select), STATUS_OK);
    strcpy(text + length, ",\"a\"]");
    ck_assert_int_eq(read_select(text, &select), STATUS_FORMAT);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_select");
    TCase *tcase = tcase_create("payload_select");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_selection_shows_its_part, 0, COUNT_OF(cases));
    tcase_add_loop_test(tcase, another_form_is_refused, 0, COUNT_OF(refused));
    tcase_add_test(tcase, a_list_of_paths_has_a_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}
