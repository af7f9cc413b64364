#include "storage/payload_index.h"

#include "storage/postings.h"

#include "tests/support/posting_env.h"
#include "tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct posting_env env;
static struct arena arena;
static struct error error;
static struct posting_batch batch;

static void setup(void) {
    posting_env_open(&env, 64 << 20);
    arena_init(&arena, 256 << 20);
    posting_batch_init(&batch, &arena, env.dbi);
}

static void teardown(void) {
    arena_free(&arena);
    posting_env_close(&env);
}

#define OK(call) ck_assert_msg((call) == STATUS_OK, "%s", error.message)

static void apply(void) {
    MDB_txn *txn = posting_env_begin(&env, 0);
    OK(posting_batch_apply(&batch, txn, &error));
    ck_assert_uint_eq(batch.count, 0);
    posting_env_commit(txn);
}

/* ---- Payload indexes ------------------------------------------------------------------------ */

static struct payload_index_field field_of(uint16_t number, enum payload_index_type type,
                                           const char *path) {
    struct payload_index_field field = {.number = number, .type = type, .is_ready = true};
    OK(payload_path_parse(path, strlen(path), &arena, &field.path, &error));
    return field;
}

/* The classes that a payload posts under a field, in the order of their numbers. */
static const struct {
    enum payload_index_type type;
    const char *payload, *classes;
} posted[] = {
    {PAYLOAD_INDEX_KEYWORD, "{}", ""},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":\"x\"}", "1 4 16"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[\"x\",\"x\"]}", "1 3 4 16"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[\"x\",\"y\"]}", "1 3 4 16 16"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[\"x\",5]}", "1 2 3 4 16"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[\"x\",null]}", "1 4 5 16"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":null}", "5"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[]}", ""},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[null]}", "4 5"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":[[\"x\"]]}", "2 4"},
    {PAYLOAD_INDEX_KEYWORD, "{\"a\":{}}", "2 4"},
    {PAYLOAD_INDEX_INTEGER, "{\"a\":5}", "1 4 18"},
    {PAYLOAD_INDEX_INTEGER, "{\"a\":[5,5.0]}", "1 3 4 18 18"},
    {PAYLOAD_INDEX_FLOAT, "{\"a\":[5,5.0]}", "1 3 4 18 18"},
    {PAYLOAD_INDEX_INTEGER, "{\"a\":\"5\"}", "2 4"},
    {PAYLOAD_INDEX_BOOL, "{\"a\":[true,false]}", "1 3 4 19 19"},
    {PAYLOAD_INDEX_BOOL, "{\"a\":1}", "2 4"},
    {PAYLOAD_INDEX_UUID, "{\"a\":\"x\"}", "1 4 16"},
    {PAYLOAD_INDEX_DATETIME, "{\"a\":[\"2024-01-01\",\"2024-01-01T00:00:00Z\"]}", "1 3 4 20"},
    {PAYLOAD_INDEX_DATETIME, "{\"a\":\"soon\"}", "2 4"},
};

START_TEST(a_payload_posts_its_values_and_marks) {
    const struct payload_index_field field = field_of(9, posted[_i].type, "a");
    const char *payload = posted[_i].payload;
    OK(payload_index_collect(&batch, &field, 1, 77, payload, strlen(payload), true, &error));
    apply();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    MDB_cursor *cursor;
    MDB_val key, value;
    char classes[128] = "";
    size_t used = 0;
    ck_assert_int_eq(mdb_cursor_open(txn, env.dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        used += (size_t)snprintf(classes + used, sizeof(classes) - used, "%s%u", used ? " " : "",
                                 ((const uint8_t *)key.mv_data)[2]);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    ck_assert_str_eq(classes, posted[_i].classes);
    /* Taking it out again leaves nothing. */
    OK(payload_index_collect(&batch, &field, 1, 77, payload, strlen(payload), false, &error));
    apply();
    uint64_t count;
    txn = posting_env_begin(&env, MDB_RDONLY);
    OK(postings_count(txn, env.dbi, 9, &count, &error));
    ck_assert_uint_eq(count, 0);
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(each_type_of_index_has_its_name_and_its_class) {
    static const struct {
        enum payload_index_type type;
        const char *name;
        enum posting_class class;
    } types[] = {{PAYLOAD_INDEX_KEYWORD, "keyword", POSTING_STRING},
                 {PAYLOAD_INDEX_INTEGER, "integer", POSTING_NUMBER},
                 {PAYLOAD_INDEX_FLOAT, "float", POSTING_NUMBER},
                 {PAYLOAD_INDEX_BOOL, "bool", POSTING_BOOL},
                 {PAYLOAD_INDEX_UUID, "uuid", POSTING_STRING},
                 {PAYLOAD_INDEX_DATETIME, "datetime", POSTING_DATETIME}};
    ck_assert_uint_eq(COUNT_OF(types), PAYLOAD_INDEX_TYPE_COUNT);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        ck_assert_str_eq(payload_index_type_name(types[i].type), types[i].name);
        ck_assert_int_eq(payload_index_class(types[i].type), types[i].class);
    }
}
END_TEST

/* One payload for each slot, some strings too long for a key. */
static size_t make_payload(uint32_t slot, char *payload, size_t size) {
    char text[600];
    memset(text, 'a' + (char)(slot % 3), sizeof(text));
    text[slot % 50 == 0 ? 500 : slot % 7] = '\0';
    return (size_t)snprintf(payload, size, "{\"s\":\"%s\",\"n\":[%u,%u.5],\"z\":null}", text,
                            slot % 100, slot % 10);
}

static void collect_slots(const struct payload_index_field *fields, size_t count, uint32_t first,
                          uint32_t last, bool add) {
    char payload[1024];
    for (uint32_t slot = first; slot < last; slot++) {
        size_t length = make_payload(slot, payload, sizeof(payload));
        OK(payload_index_collect(&batch, fields, count, slot, payload, length, add, &error));
    }
}

START_TEST(an_index_is_counted_verified_and_dropped) {
    enum {
        COUNT = 3000
    };
    const struct payload_index_field fields[] = {field_of(1, PAYLOAD_INDEX_KEYWORD, "s"),
                                                 field_of(2, PAYLOAD_INDEX_INTEGER, "n"),
                                                 field_of(3, PAYLOAD_INDEX_BOOL, "z")};
    uint64_t points, total, count;
    bool done;
    collect_slots(fields, 3, 0, COUNT, true);
    apply();
    MDB_txn *txn = posting_env_begin(&env, 0);
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        OK(payload_index_count(txn, env.dbi, fields[i].number, &points, &error));
        ck_assert_uint_eq(points, i < 2 ? COUNT : 0);
        collect_slots(&fields[i], 1, 0, COUNT, true);
        OK(posting_batch_verify(&batch, txn, &total, &error));
        OK(postings_count(txn, env.dbi, fields[i].number, &count, &error));
        ck_assert_uint_eq(total, count);
    }
    /* Something is left over: the totals differ. */
    collect_slots(fields, 1, 0, COUNT - 1, true);
    OK(posting_batch_verify(&batch, txn, &total, &error));
    OK(postings_count(txn, env.dbi, 1, &count, &error));
    ck_assert_uint_lt(total, count);
    /* Something is missing. */
    collect_slots(fields, 1, 0, COUNT + 1, true);
    ck_assert_int_eq(posting_batch_verify(&batch, txn, &total, &error), STATUS_CORRUPT);
    ck_assert_str_eq(error.message, "payload index 1 lacks a posting");

    int steps = 0;
    do {
        OK(payload_index_drop_step(txn, env.dbi, 2, 50, &done, &error));
        steps++;
    } while (!done);
    ck_assert_int_gt(steps, 2); /* 110 values and 3 marks */
    OK(postings_count(txn, env.dbi, 2, &count, &error));
    ck_assert_uint_eq(count, 0);
    OK(payload_index_drop_step(txn, env.dbi, 2, 1, &done, &error));
    ck_assert(done);
    OK(postings_count(txn, env.dbi, 1, &count, &error));
    ck_assert_uint_gt(count, COUNT); /* its neighbours are whole */
    OK(postings_count(txn, env.dbi, 3, &count, &error));
    ck_assert_uint_eq(count, COUNT);
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(a_full_arena_is_no_memory_at_whatever_point) {
    const struct payload_index_field fields[] = {field_of(1, PAYLOAD_INDEX_KEYWORD, "s"),
                                                 field_of(2, PAYLOAD_INDEX_INTEGER, "n")};
    char payload[1024];
    int failures = 0;
    enum status status = STATUS_NO_MEMORY;
    for (size_t limit = 1; status != STATUS_OK; limit += limit / 8 + 100) {
        struct arena small;
        arena_init(&small, limit);
        posting_batch_init(&batch, &small, env.dbi);
        status = STATUS_OK;
        for (uint32_t slot = 0; slot < 500 && status == STATUS_OK; slot++) {
            size_t length = make_payload(slot, payload, sizeof(payload));
            status = payload_index_collect(&batch, fields, 2, slot, payload, length, true, &error);
        }
        MDB_txn *txn = posting_env_begin(&env, 0);
        if (status == STATUS_OK)
            status = posting_batch_apply(&batch, txn, &error);
        mdb_txn_abort(txn);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        failures += status != STATUS_OK;
        arena_free(&small);
    }
    ck_assert_int_gt(failures, 10);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_index");
    TCase *tcase = tcase_create("payload_index");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_payload_posts_its_values_and_marks, 0, (int)COUNT_OF(posted));
    tcase_add_test(tcase, each_type_of_index_has_its_name_and_its_class);
    tcase_add_test(tcase, an_index_is_counted_verified_and_dropped);
    tcase_add_test(tcase, a_full_arena_is_no_memory_at_whatever_point);
    suite_add_tcase(suite, tcase);
    return suite;
}
