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

/* ---- Batches against a table of flags ------------------------------------------------------- */

enum {
    FIELDS = 3,
    VALUES = 6,
    SLOTS = 200000
};

static const char *const values[VALUES] = {"", "a", "a\0", "ab", "b", "\0"};
static const size_t lengths[VALUES] = {0, 1, 2, 2, 1, 1};
static uint8_t model[FIELDS][VALUES][SLOTS];

static void edit(int field, int value, uint32_t slot, bool add) {
    uint8_t bytes[POSTING_VALUE_MAX];
    size_t length;
    enum posting_class class = posting_string(values[value], lengths[value], bytes, &length);
    OK(posting_batch_edit(&batch, (uint16_t)(field + 1), class, bytes, length, slot, add, &error));
    model[field][value][slot] = add;
}

static uint64_t count_model(int field, int value) {
    uint64_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        count += model[field][value][slot];
    return count;
}

/* Every posting that is found is in the model, each once, and none is lacking. */
static void check_value(MDB_txn *txn, int field, int value) {
    uint8_t bytes[POSTING_VALUE_MAX];
    struct posting_walk walk;
    struct posting_range range = {.field = (uint16_t)(field + 1), .low = bytes, .high = bytes};
    range.class = posting_string(values[value], lengths[value], bytes, &range.low_length);
    range.high_length = range.low_length;
    OK(posting_walk_begin(&walk, txn, env.dbi, &error));
    posting_walk_seek(&walk, &range);
    uint64_t found = 0, wrong = 0;
    int64_t last = -1;
    for (;;) {
        bool more;
        struct posting_chunk chunk;
        OK(posting_walk_next(&walk, &more, &error));
        if (!more)
            break;
        ck_assert_int_gt((int64_t)walk.number, last);
        last = walk.number;
        OK(posting_walk_open(&walk, &chunk, &error));
        ck_assert_uint_eq(chunk.count, walk.count);
        found += chunk.count;
        for (uint32_t low = 0; low < POSTING_CHUNK_SLOTS; low++) {
            uint32_t slot = walk.number << POSTING_CHUNK_BITS | low;
            wrong += posting_chunk_has(&chunk, (uint16_t)low) !=
                     (slot < SLOTS && model[field][value][slot]);
        }
    }
    posting_walk_end(&walk);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(found, count_model(field, value));
}

static void check_all(void) {
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    for (int field = 0; field < FIELDS; field++) {
        uint64_t total = 0, count;
        for (int value = 0; value < VALUES; value++) {
            check_value(txn, field, value);
            total += count_model(field, value);
        }
        OK(postings_count(txn, env.dbi, (uint16_t)(field + 1), &count, &error));
        ck_assert_uint_eq(count, total);
    }
    mdb_txn_abort(txn);
}

static void apply(void) {
    MDB_txn *txn = posting_env_begin(&env, 0);
    OK(posting_batch_apply(&batch, txn, &error));
    ck_assert_uint_eq(batch.count, 0);
    posting_env_commit(txn);
}

START_TEST(batches_agree_with_a_table_of_flags) {
    srand((unsigned)_i);
    for (int round = 0; round < 8; round++) {
        int count = 1 << rand() % 17;
        uint32_t first = (uint32_t)rand() % SLOTS;
        for (int i = 0; i < count; i++) {
            uint32_t slot = rand() % 2 ? (uint32_t)rand() % SLOTS : (first + (uint32_t)i) % SLOTS;
            edit(rand() % FIELDS, rand() % VALUES, slot, rand() % (round % 3 + 2) != 0);
        }
        apply();
        check_all();
    }
}
END_TEST

START_TEST(of_several_edits_of_a_posting_the_last_counts) {
    edit(0, 1, 7, false); /* is not there */
    edit(0, 1, 7, true);
    edit(0, 1, 8, true);
    edit(0, 1, 8, false);
    edit(0, 1, 9, true);
    edit(0, 1, 9, false);
    edit(0, 1, 9, true);
    edit(0, 1, 9, true);
    apply();
    check_all();
    ck_assert_uint_eq(count_model(0, 1), 2);
    edit(0, 1, 7, false);
    edit(0, 1, 9, false);
    apply();
    check_all();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    MDB_stat stat;
    ck_assert_int_eq(mdb_stat(txn, env.dbi, &stat), 0);
    ck_assert_uint_eq(stat.ms_entries, 0); /* an empty chunk is no row */
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(live_slots_are_a_field_of_their_own) {
    for (uint32_t slot = 65530; slot < 65540; slot++)
        OK(posting_batch_live(&batch, slot, true, &error));
    OK(posting_batch_live(&batch, 65536, false, &error));
    apply();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    uint64_t count;
    OK(postings_count(txn, env.dbi, POSTING_FIELD_LIVE, &count, &error));
    ck_assert_uint_eq(count, 9);
    mdb_txn_abort(txn);
}
END_TEST

/* ---- Values as bytes ------------------------------------------------------------------------ */

START_TEST(strings_keep_their_order_and_long_ones_are_hashed) {
    uint8_t a[POSTING_VALUE_MAX], b[POSTING_VALUE_MAX];
    size_t a_length, b_length;
    char text[POSTING_VALUE_MAX];
    /* values[] without "\0", which comes second */
    static const int ascending[] = {0, 5, 1, 2, 3, 4};
    for (size_t i = 0; i + 1 < COUNT_OF(ascending); i++) {
        posting_string(values[ascending[i]], lengths[ascending[i]], a, &a_length);
        posting_string(values[ascending[i + 1]], lengths[ascending[i + 1]], b, &b_length);
        ck_assert_int_lt(memcmp(a, b, a_length < b_length ? a_length : b_length), 0);
    }
    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(posting_string(text, 392, a, &a_length), POSTING_STRING);
    ck_assert_uint_eq(a_length, 394);
    ck_assert_int_eq(posting_string(text, 395, a, &a_length), POSTING_LONG_STRING);
    ck_assert_uint_eq(a_length, POSTING_LONG_STRING_BYTES);
    text[394] = 'y';
    posting_string(text, 395, b, &b_length);
    ck_assert_mem_ne(a, b, POSTING_LONG_STRING_BYTES);
    memset(text, '\0', sizeof(text)); /* each takes two bytes */
    ck_assert_int_eq(posting_string(text, 196, a, &a_length), POSTING_STRING);
    ck_assert_uint_eq(a_length, 394);
    ck_assert_int_eq(posting_string(text, 197, a, &a_length), POSTING_LONG_STRING);
}
END_TEST

START_TEST(a_range_gives_its_values_in_order) {
    for (int64_t i = -50; i < 50; i++) {
        uint8_t bytes[POSTING_NUMBER_BYTES];
        struct payload_number number =
            i % 2 ? payload_number_from_i64(i) : payload_number_from_f64((double)i);
        posting_number(&number, bytes);
        OK(posting_batch_edit(&batch, 1, POSTING_NUMBER, bytes, sizeof(bytes), (uint32_t)(i + 50),
                              true, &error));
    }
    apply();
    uint8_t low[POSTING_NUMBER_BYTES], high[POSTING_NUMBER_BYTES];
    struct payload_number number = payload_number_from_i64(-7);
    posting_number(&number, low);
    number = payload_number_from_i64(12);
    posting_number(&number, high);
    const struct posting_range range = {.field = 1,
                                        .class = POSTING_NUMBER,
                                        .low = low,
                                        .low_length = sizeof(low),
                                        .high = high,
                                        .high_length = sizeof(high)};
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct posting_walk walk;
    bool more;
    OK(posting_walk_begin(&walk, txn, env.dbi, &error));
    for (int pass = 0; pass < 2; pass++) { /* a walk can start over */
        posting_walk_seek(&walk, &range);
        for (uint32_t slot = 43; slot <= 62; slot++) {
            struct posting_chunk chunk;
            OK(posting_walk_next(&walk, &more, &error));
            ck_assert(more);
            OK(posting_walk_open(&walk, &chunk, &error));
            ck_assert(posting_chunk_has(&chunk, (uint16_t)slot));
        }
        OK(posting_walk_next(&walk, &more, &error));
        ck_assert(!more);
    }
    posting_walk_end(&walk);
    mdb_txn_abort(txn);
}
END_TEST

/* ---- Failures ------------------------------------------------------------------------------- */

START_TEST(a_full_map_is_told_and_leaves_nothing) {
    struct posting_env small;
    posting_env_open(&small, 256 << 10);
    posting_batch_init(&batch, &arena, small.dbi);
    for (uint32_t i = 0; i < 20000; i++)
        OK(posting_batch_edit(&batch, 1, POSTING_STRING, &i, sizeof(i), i, true, &error));
    MDB_txn *txn = posting_env_begin(&small, 0);
    ck_assert_int_eq(posting_batch_apply(&batch, txn, &error), STATUS_MAP_FULL);
    ck_assert_str_eq(error.message, "write a payload index: the map is full");
    ck_assert_uint_eq(batch.count, 0);
    mdb_txn_abort(txn);
    txn = posting_env_begin(&small, 0);
    uint64_t count;
    OK(postings_count(txn, small.dbi, 1, &count, &error));
    ck_assert_uint_eq(count, 0);
    mdb_txn_abort(txn);
    posting_env_close(&small);
}
END_TEST

/* Flips a byte of the only chunk. */
static void damage(size_t offset) {
    MDB_txn *txn = posting_env_begin(&env, 0);
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t bytes[POSTING_CHUNK_BYTES_MAX];
    ck_assert_int_eq(mdb_cursor_open(txn, env.dbi, &cursor), 0);
    ck_assert_int_eq(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
    memcpy(bytes, value.mv_data, value.mv_size);
    bytes[offset] ^= 0x10;
    value.mv_data = bytes;
    ck_assert_int_eq(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
    mdb_cursor_close(cursor);
    posting_env_commit(txn);
}

START_TEST(a_damaged_chunk_is_reported_by_everything_that_reads_it) {
    uint64_t count;
    bool more;
    struct posting_walk walk;
    struct posting_chunk chunk;
    const struct posting_range range = {.field = POSTING_FIELD_LIVE, .class = POSTING_LIVE};
    for (uint32_t slot = 0; slot < 100; slot += 3)
        OK(posting_batch_live(&batch, slot, true, &error));
    apply();
    damage((size_t)_i);
    MDB_txn *txn = posting_env_begin(&env, 0);
    ck_assert_int_eq(postings_count(txn, env.dbi, POSTING_FIELD_LIVE, &count, &error),
                     STATUS_CORRUPT);
    ck_assert_str_eq(error.message, "payload index 0 holds a damaged chunk of class 0");
    OK(posting_walk_begin(&walk, txn, env.dbi, &error));
    posting_walk_seek(&walk, &range);
    OK(posting_walk_next(&walk, &more, &error));
    ck_assert(more);
    ck_assert_int_eq(posting_walk_open(&walk, &chunk, &error), STATUS_CORRUPT);
    posting_walk_end(&walk);
    OK(posting_batch_live(&batch, 1, true, &error));
    ck_assert_int_eq(posting_batch_apply(&batch, txn, &error), STATUS_CORRUPT);
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(a_key_that_is_too_short_is_corrupt) {
    uint64_t count;
    MDB_val key = {2, "\0\1"}, value = {3, "abc"};
    MDB_txn *txn = posting_env_begin(&env, 0);
    ck_assert_int_eq(mdb_put(txn, env.dbi, &key, &value, 0), 0);
    ck_assert_int_eq(postings_count(txn, env.dbi, 1, &count, &error), STATUS_CORRUPT);
    mdb_txn_abort(txn);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("postings");
    TCase *tcase = tcase_create("postings");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, batches_agree_with_a_table_of_flags, 0, 4);
    tcase_add_test(tcase, of_several_edits_of_a_posting_the_last_counts);
    tcase_add_test(tcase, live_slots_are_a_field_of_their_own);
    tcase_add_test(tcase, strings_keep_their_order_and_long_ones_are_hashed);
    tcase_add_test(tcase, a_range_gives_its_values_in_order);
    tcase_add_test(tcase, a_full_map_is_told_and_leaves_nothing);
    tcase_add_loop_test(tcase, a_damaged_chunk_is_reported_by_everything_that_reads_it, 0, 20);
    tcase_add_test(tcase, a_key_that_is_too_short_is_corrupt);
    suite_add_tcase(suite, tcase);
    return suite;
}
