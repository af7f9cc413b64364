/* What LMDB wrote is sound, whatever was put and deleted; a tree that would mislead it is not. */
#include "storage/lmdb_check.h"
#include "tests/storage/damage_child.h"
#include "tests/storage/lmdb_pages.h"
#include "tests/support/run_suite.h"

#include <xxhash.h>

enum {
    MIB = 1024 * 1024,
    KEYS = 4000, /* of which some are there at a time */
    COMMITS = 60,
    CHANGES = 150, /* of one commit */
    KEY_MAX = 400,
    VALUE_MAX = 9000,
    SUM_BYTES = 8,
    FALSE_NAMES = 4,
};

static char folder[64];
static MDB_env *env;
static MDB_dbi dbi;

/* ---- A record: its value begins with the checksum of its key and the rest ----------------------
 */

static uint64_t sum_of(const MDB_val *key, const MDB_val *value) {
    return XXH3_64bits_withSeed((const uint8_t *)value->mv_data + SUM_BYTES,
                                value->mv_size - SUM_BYTES,
                                XXH3_64bits(key->mv_data, key->mv_size));
}

static uint64_t asked;
static const char *refused_key; /* the record of this key is not sealed */

static bool is_sealed(const MDB_val *key, const MDB_val *value) {
    uint64_t sum;
    memcpy(&sum, value->mv_data, sizeof(sum));
    ck_assert_uint_eq(sum, sum_of(key, value));
    asked++;
    return !refused_key || key->mv_size != strlen(refused_key) ||
           memcmp(key->mv_data, refused_key, key->mv_size) != 0;
}

static const struct lmdb_check_database databases[] = {{"records", is_sealed}};

/* Keys of one number are always the same; their lengths differ, and they are in no order. */
static MDB_val key_of(unsigned number, unsigned bytes_max, char text[KEY_MAX + 1]) {
    uint64_t mixed = XXH3_64bits(&number, sizeof(number));
    size_t length = 16 + mixed % (bytes_max - 15);
    memset(text, 'k', length);
    snprintf(text, 17, "%016llx", (unsigned long long)mixed);
    text[16] = length > 16 ? 'k' : '\0';
    return (MDB_val){length, text};
}

static void put(MDB_txn *txn, MDB_val *key, size_t length) {
    static uint8_t bytes[VALUE_MAX];
    MDB_val value = {length, bytes};
    for (size_t i = SUM_BYTES; i < length; i++)
        bytes[i] = (uint8_t)draw(256);
    uint64_t sum = sum_of(key, &value);
    memcpy(bytes, &sum, sizeof(sum));
    ck_assert_int_eq(mdb_put(txn, dbi, key, &value, 0), 0);
}

/* ---- The environment --------------------------------------------------------------------------
 */

static void open_env(void) {
    MDB_txn *txn;
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_set_maxdbs(env, FALSE_NAMES), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(env, 64 * MIB), 0);
    ck_assert_int_eq(mdb_env_open(env, folder, MDB_NOSYNC, 0640), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, databases[0].name, MDB_CREATE, &dbi), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
}

static void begin(void) {
    strcpy(folder, "/tmp/nigh-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    open_env();
}

static void fill(unsigned keys, unsigned bytes_max, size_t value_bytes) {
    char text[KEY_MAX + 1];
    MDB_txn *txn;
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (unsigned i = 0; i < keys; i++) {
        MDB_val key = key_of(i, bytes_max, text);
        put(txn, &key, value_bytes);
    }
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
}

static enum status check_with(const struct lmdb_check_database *expected, size_t count,
                              struct error *error) {
    asked = 0;
    return lmdb_check_folder(folder, expected, count, error);
}

static enum status check_file(void) {
    struct error error = {0};
    return check_with(databases, 1, &error);
}

static void read_data(struct file *file) {
    snprintf(file->path, sizeof(file->path), "%s/data.mdb", folder);
    read_file(file);
}

static uint64_t entries(void) {
    MDB_txn *txn;
    MDB_stat info;
    ck_assert_int_eq(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    ck_assert_int_eq(mdb_stat(txn, dbi, &info), 0);
    mdb_txn_abort(txn);
    return info.ms_entries;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

/* Most of one commit's changes are puts, or most are deletions, by turns of ten commits: trees grow
 * and shrink, pages are split and merged, down to nothing. */
static void change(MDB_txn *txn, unsigned commit, unsigned bytes_max) {
    char text[KEY_MAX + 1];
    bool grows = commit / 10 % 2 == 0;
    for (unsigned i = 0; i < CHANGES; i++) {
        MDB_val key = key_of((unsigned)draw(grows ? KEYS : KEYS / 2), bytes_max, text);
        if (draw(10) < 8 ? grows : !grows) {
            put(txn, &key, SUM_BYTES + draw(draw(8) == 0 ? VALUE_MAX - SUM_BYTES : 60));
        } else {
            int code = mdb_del(txn, dbi, &key, NULL);
            ck_assert(code == 0 || code == MDB_NOTFOUND);
        }
    }
}

static void delete_all_but(MDB_txn *txn, unsigned kept) {
    MDB_cursor *cursor;
    MDB_val key, value;
    ck_assert_int_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        if (kept == 0 || draw(kept) > 0)
            ck_assert_int_eq(mdb_cursor_del(cursor, 0), 0);
    mdb_cursor_close(cursor);
}

/* _i: a seed; the lengths of keys make trees of two to five levels. */
START_TEST(what_lmdb_wrote_is_sound_after_any_history) {
    static const unsigned lengths[] = {17, 40, 120, KEY_MAX};
    unsigned bytes_max = lengths[_i % 4];
    random_state = 88172645463325252ULL + (unsigned)_i;
    begin();
    for (unsigned commit = 0; commit < COMMITS; commit++) {
        MDB_txn *txn;
        ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
        change(txn, commit, bytes_max);
        if (commit % 20 == 19)
            delete_all_but(txn, commit / 20 * 10);
        ck_assert_int_eq(mdb_txn_commit(txn), 0);
        uint64_t expected = entries();
        mdb_env_close(env); /* the check closes the file, which would drop LMDB's locks */
        struct error error = {0};
        ck_assert_msg(check_with(databases, 1, &error) == STATUS_OK, "commit %u: %s", commit,
                      error.message);
        ck_assert_uint_eq(asked, expected); /* each record once */
        open_env();
    }
    mdb_env_close(env);
    fixture_remove(folder);
}
END_TEST

START_TEST(one_record_that_is_not_as_it_was_written_is_enough) {
    char text[KEY_MAX + 1] = {0};
    static const size_t lengths[] = {100, VALUE_MAX}; /* in a page, and on pages of its own */
    begin();
    fill(500, 16, lengths[_i]);
    mdb_env_close(env);
    ck_assert_int_eq(check_file(), STATUS_OK);
    for (unsigned i = 0; i < 500; i += 71) {
        struct error error = {0};
        key_of(i, 16, text);
        refused_key = text;
        ck_assert_int_eq(check_with(databases, 1, &error), STATUS_CORRUPT);
        ck_assert_ptr_nonnull(strstr(error.message, "a record of records"));
    }
    fixture_remove(folder);
}
END_TEST

/* Two pages below one branch that changed places: each is sound, and so is the branch. */
START_TEST(a_branch_that_leads_to_the_wrong_page_is_refused) {
    struct file file;
    struct lmdb_spots found;
    unsigned tried = 0;
    begin();
    fill(KEYS, 120, 20);
    mdb_env_close(env);
    read_data(&file);
    lmdb_pages_find(file.bytes, &found);
    ck_assert_int_eq(check_file(), STATUS_OK);
    const struct lmdb_spot *before = NULL;
    for (size_t i = 0; i < found.count; i++) {
        const struct lmdb_spot *spot = &found.spots[i];
        /* The node of a branch is followed by what lies below. */
        bool is_of_branch = spot->part == LMDB_PART_NODE && i + 1 < found.count &&
                            found.spots[i + 1].part != LMDB_PART_KEY;
        if (!is_of_branch)
            continue;
        if (before && before->level == spot->level && before->page == spot->page) {
            uint8_t *bytes = malloc(file.length);
            memcpy(bytes, file.bytes, file.length);
            memcpy(bytes + spot->offset, file.bytes + before->offset, 6);
            memcpy(bytes + before->offset, file.bytes + spot->offset, 6);
            write_file(&file, bytes, file.length);
            ck_assert_int_eq(check_file(), STATUS_CORRUPT);
            free(bytes);
            tried++;
        }
        before = spot;
    }
    ck_assert_uint_gt(tried, 10);
    free(found.spots);
    free(file.bytes);
    fixture_remove(folder);
}
END_TEST

/* Each node is as it was written, and so is each record: only the order is another. */
START_TEST(two_nodes_of_a_page_that_changed_places_are_refused) {
    enum {
        HEADER = 16,
        ENTRY = 2
    };
    struct file file;
    struct lmdb_spots found;
    begin();
    fill(KEYS, 120, 20);
    mdb_env_close(env);
    read_data(&file);
    lmdb_pages_find(file.bytes, &found);
    for (size_t i = 0; i < found.count; i++) {
        const struct lmdb_spot *spot = &found.spots[i];
        if (spot->part != LMDB_PART_TABLE || spot->length < HEADER + 2 * ENTRY)
            continue;
        uint8_t *last = file.bytes + spot->offset + spot->length - ENTRY;
        uint8_t entries[2 * ENTRY];
        memcpy(entries, last - ENTRY, sizeof(entries));
        memcpy(last - ENTRY, entries + ENTRY, ENTRY);
        memcpy(last, entries, ENTRY);
        write_file(&file, file.bytes, file.length);
        ck_assert_int_eq(check_file(), STATUS_CORRUPT);
        memcpy(last - ENTRY, entries, sizeof(entries));
    }
    write_file(&file, file.bytes, file.length);
    ck_assert_int_eq(check_file(), STATUS_OK);
    free(found.spots);
    free(file.bytes);
    fixture_remove(folder);
}
END_TEST

START_TEST(an_environment_has_all_of_its_databases_and_no_others) {
    static const struct {
        struct lmdb_check_database databases[2];
        size_t count;
        enum status status;
    } cases[FALSE_NAMES] = {
        {{{"records", is_sealed}}, 1, STATUS_OK},
        {{{"record", is_sealed}}, 1, STATUS_CORRUPT},
        {{{"recordz", is_sealed}}, 1, STATUS_CORRUPT},
        {{{"records", is_sealed}, {"others", NULL}}, 2, STATUS_CORRUPT},
    };
    begin();
    fill(10, 16, 20);
    mdb_env_close(env);
    for (size_t i = 0; i < FALSE_NAMES; i++) {
        struct error error = {0};
        ck_assert_int_eq(check_with(cases[i].databases, cases[i].count, &error), cases[i].status);
    }
    fixture_remove(folder);
}
END_TEST

START_TEST(an_environment_without_databases_is_sound) {
    strcpy(folder, "/tmp/nigh-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(check_file(), STATUS_OK); /* no file */
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, folder, 0, 0640), 0);
    mdb_env_close(env);
    ck_assert_int_eq(check_file(), STATUS_OK);
    fixture_remove(folder);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("lmdb check");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, what_lmdb_wrote_is_sound_after_any_history, 0, 12);
    tcase_add_loop_test(tests, one_record_that_is_not_as_it_was_written_is_enough, 0, 2);
    tcase_add_test(tests, a_branch_that_leads_to_the_wrong_page_is_refused);
    tcase_add_test(tests, two_nodes_of_a_page_that_changed_places_are_refused);
    tcase_add_test(tests, an_environment_has_all_of_its_databases_and_no_others);
    tcase_add_test(tests, an_environment_without_databases_is_sound);
    suite_add_tcase(suite, tests);
    return suite;
}
