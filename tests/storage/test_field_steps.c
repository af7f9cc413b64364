/* Steps of index building that fail: no writer waits for the next try, and who asks hears why. */
#include "storage/collection_internal.h"
#include "storage/fault.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>

enum {
    POINTS = 50,
    DAMAGED = 2, /* collections: as many as there are writers */
    WAIT_MS = 20000,
    IDLE_US = 500000,
    LOG_MAX = 65536,
};

static struct fixture fixture;
static struct collection *collections[DAMAGED];

static enum status change_index(struct collection *collection, enum operation_kind kind) {
    struct error error = {0};
    struct operation operation = {.kind = kind, .field = {.type = PAYLOAD_INDEX_INTEGER}};
    struct arena arena;
    arena_init(&arena, FIXTURE_ARENA_MAX);
    ck_assert_int_eq(payload_path_parse("n", 1, &arena, &operation.field.path, NULL), STATUS_OK);
    enum status status = fixture_write(collection, &operation, 1, &error);
    arena_free(&arena);
    return status;
}

static void lose_a_row(struct collection *collection) {
    struct error error = {0};
    MDB_txn *txn;
    ck_assert_int_eq(lmdb_env_write_begin(&collection->env, &txn, &error), STATUS_OK);
    const struct point_rows rows = {.txn = txn, .dbis = collection->env.dbis};
    ck_assert_int_eq(point_rows_remove_row(&rows, POINTS / 2, &error), STATUS_OK);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
}

static struct collection *create_with_points(const char *name) {
    struct error error = {0};
    fixture_create(&fixture, name);
    struct collection *collection = fixture_acquire(&fixture, name);
    ck_assert_int_eq(fixture_upsert(collection, 0, POINTS, 1, &error), STATUS_OK);
    return collection;
}

static void begin(void) {
    char name[] = "a";
    fixture_begin(&fixture);
    for (int i = 0; i < DAMAGED; i++, name[0]++) {
        collections[i] = create_with_points(name);
        lose_a_row(collections[i]);
    }
}

static void end(void) {
    for (int i = 0; i < DAMAGED; i++)
        storage_release_collection(collections[i]);
    fixture_end(&fixture);
}

static struct collection_status wait_for_damage(struct collection *collection, bool is_damaged) {
    struct collection_status status;
    for (int ms = 0;; ms++) {
        collection_status(collection, &status);
        if (status.is_damaged == is_damaged)
            return status;
        ck_assert_int_lt(ms, WAIT_MS);
        usleep(1000);
    }
}

/* Groups that writers ran, whatever became of them. */
static uint64_t count_groups(void) {
    struct storage_figures figures;
    storage_figures(fixture.storage, &figures);
    return figures.commits + figures.commit_failures;
}

static size_t count_lines(int fd, const char *text) {
    static char bytes[LOG_MAX + 1];
    size_t count = 0;
    ssize_t length = pread(fd, bytes, LOG_MAX, 0);
    ck_assert_int_ge(length, 0);
    bytes[length] = '\0';
    for (const char *at = bytes; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

START_TEST(an_index_that_meets_a_damaged_row_stops_and_says_so_once) {
    struct error error = {0};
    char path[128];
    int saved = dup(STDOUT_FILENO);
    begin();
    snprintf(path, sizeof(path), "%s/log", fixture.path);
    int log = open(path, O_RDWR | O_CREAT, 0600);
    log_configure(LOG_LEVEL_WARN, false);
    fflush(stdout);
    dup2(log, STDOUT_FILENO);
    for (int i = 0; i < DAMAGED; i++)
        ck_assert_int_eq(change_index(collections[i], OPERATION_CREATE_INDEX), STATUS_OK);
    for (int i = 0; i < DAMAGED; i++) {
        const struct collection_status status = wait_for_damage(collections[i], true);
        ck_assert_msg(strstr(status.reason, "payload index: Stored data is corrupt") != NULL, "%s",
                      status.reason);
    }
    uint64_t groups = count_groups();
    usleep(IDLE_US);
    ck_assert_uint_eq(count_groups(), groups);
    for (int i = 0; i < DAMAGED; i++) /* writes go on, and do not bring it on again */
        ck_assert_int_eq(fixture_upsert(collections[i], POINTS, 10, 1, &error), STATUS_OK);
    usleep(IDLE_US);
    ck_assert_uint_eq(count_groups(), groups + DAMAGED);
    dup2(saved, STDOUT_FILENO);
    ck_assert_uint_eq(count_lines(log, "payload index of"), DAMAGED);
    close(saved);
    close(log);
    end();
}
END_TEST

START_TEST(an_index_that_cannot_be_built_can_be_dropped) {
    begin();
    ck_assert_int_eq(change_index(collections[0], OPERATION_CREATE_INDEX), STATUS_OK);
    (void)wait_for_damage(collections[0], true);
    ck_assert_int_eq(change_index(collections[0], OPERATION_DROP_INDEX), STATUS_OK);
    (void)wait_for_damage(collections[0], false);
    usleep(IDLE_US);
    ck_assert(!wait_for_damage(collections[0], false).is_damaged);
    end();
}
END_TEST

START_TEST(what_stopped_an_index_is_met_again_after_a_restart) {
    begin();
    ck_assert_int_eq(change_index(collections[0], OPERATION_CREATE_INDEX), STATUS_OK);
    (void)wait_for_damage(collections[0], true);
    for (int i = 0; i < DAMAGED; i++)
        storage_release_collection(collections[i]);
    fixture_reopen(&fixture);
    struct collection *collection = fixture_acquire(&fixture, "a");
    (void)wait_for_damage(collection, true);
    uint64_t groups = count_groups();
    usleep(IDLE_US);
    ck_assert_uint_eq(count_groups(), groups);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

#ifdef NIGH_FAULTS

/* 0 while it is being built. */
static uint64_t count_indexed(struct collection *collection) {
    struct read read;
    const struct payload_index_status *indexes;
    size_t count;
    read_begin(&read, collection);
    ck_assert_int_eq(reader_payload_indexes(read.reader, &indexes, &count, &read.error), STATUS_OK);
    uint64_t points = count == 1 && indexes[0].field.is_ready ? indexes[0].points : 0;
    read_end(&read);
    return points;
}

START_TEST(a_step_that_failed_is_tried_again_less_and_less_often) {
    fixture_begin(&fixture);
    struct collection *collection = create_with_points("a");
    fault_set("field.build_step:1:fail*");
    ck_assert_int_eq(change_index(collection, OPERATION_CREATE_INDEX), STATUS_OK);
    uint64_t groups = count_groups();
    usleep(2 * IDLE_US);
    uint64_t tries = count_groups() - groups;
    ck_assert_uint_ge(tries, 2);
    ck_assert_uint_le(tries, 6); /* after 0, 50, 150, 350 and 750 ms */
    ck_assert_uint_eq(count_indexed(collection), 0);
    fault_set(NULL);
    for (int ms = 0; count_indexed(collection) < POINTS; ms++) {
        ck_assert_int_lt(ms, WAIT_MS);
        usleep(1000);
    }
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

START_TEST(storage_closes_while_a_step_waits_and_the_next_start_takes_it_up) {
    fixture_begin(&fixture);
    struct collection *collection = create_with_points("a");
    fault_set("field.build_step:1:fail*");
    ck_assert_int_eq(change_index(collection, OPERATION_CREATE_INDEX), STATUS_OK);
    usleep(IDLE_US);
    storage_release_collection(collection);
    uint64_t begun = collection_now_ns();
    fixture_close(&fixture);
    ck_assert_uint_lt(collection_now_ns() - begun, 5000000000);
    fault_set(NULL);
    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "a");
    for (int ms = 0; count_indexed(collection) < POINTS; ms++) {
        ck_assert_int_lt(ms, WAIT_MS);
        usleep(1000);
    }
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

/* True if a file of a collection is open although it was deleted. */
static bool holds_deleted_file(void) {
    char path[64], target[512];
    bool is_held = false;
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        is_held |= strstr(target, "data.mdb (deleted)") != NULL;
    }
    return is_held;
}

START_TEST(a_collection_that_is_deleted_is_not_held_for_its_next_try) {
    bool existed;
    fixture_begin(&fixture);
    struct collection *collection = create_with_points("a");
    fault_set("field.build_step:1:fail*");
    ck_assert_int_eq(change_index(collection, OPERATION_CREATE_INDEX), STATUS_OK);
    usleep(2 * IDLE_US); /* the next is at 1,550 ms, and at 3,150 */
    storage_release_collection(collection);
    ck_assert_int_eq(fixture_delete(&fixture, "a", &existed), STATUS_OK);
    uint64_t begun = collection_now_ns();
    while (holds_deleted_file()) {
        ck_assert_uint_lt(collection_now_ns() - begun, 300000000);
        usleep(1000);
    }
    fault_set(NULL);
    fixture_end(&fixture);
}
END_TEST

#endif

Suite *test_suite(void) {
    Suite *suite = suite_create("field steps");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, an_index_that_meets_a_damaged_row_stops_and_says_so_once);
    tcase_add_test(tests, an_index_that_cannot_be_built_can_be_dropped);
    tcase_add_test(tests, what_stopped_an_index_is_met_again_after_a_restart);
#ifdef NIGH_FAULTS
    tcase_add_test(tests, a_step_that_failed_is_tried_again_less_and_less_often);
    tcase_add_test(tests, storage_closes_while_a_step_waits_and_the_next_start_takes_it_up);
    tcase_add_test(tests, a_collection_that_is_deleted_is_not_held_for_its_next_try);
#endif
    suite_add_tcase(suite, tests);
    return suite;
}
