/* Environments: the gate in front of a growing map, reopening, and what is refused. */
#include "storage/collection_internal.h"
#include "storage/lmdb_env.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <sys/resource.h>

enum {
    MIB = 1024 * 1024,
    HELD_MS = 1000,
    VALUE_BYTES = 3000,
};

#define GIB (UINT64_C(1) << 30)

/* Sanitizers take more addresses than any limit leaves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_LIMIT_ADDRESSES 0
#else
#define CAN_LIMIT_ADDRESSES 1
#endif

static char folder[64];
static struct lmdb_env env;
static const struct lmdb_check_database database = {.name = "one"};

static enum status open_env(uint64_t map_bytes_max, struct error *error) {
    const struct lmdb_env_options options = {.path = folder,
                                             .databases = &database,
                                             .databases_count = 1,
                                             .map_bytes = MIB,
                                             .map_bytes_max = map_bytes_max,
                                             .readers_max = 8};
    return lmdb_env_open(&env, &options, error);
}

static void begin(uint64_t map_bytes_max) {
    struct error error = {0};
    log_configure(LOG_LEVEL_ERROR, false);
    strcpy(folder, "/tmp/nigh-env-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_msg(open_env(map_bytes_max, &error) == STATUS_OK, "%s", error.message);
}

static void end(void) {
    lmdb_env_close(&env);
    fixture_remove(folder);
}

static int put(uint32_t number) {
    static char value[VALUE_BYTES];
    MDB_txn *txn;
    struct error error = {0};
    ck_assert_int_eq(lmdb_env_write_begin(&env, &txn, &error), STATUS_OK);
    memset(value, (int)('a' + number % 26), sizeof(value));
    MDB_val key = {sizeof(number), &number}, data = {sizeof(value), value};
    int code = mdb_put(txn, env.dbis[0], &key, &data, 0);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static void check_value(MDB_txn *txn, uint32_t number) {
    MDB_val key = {sizeof(number), &number}, data;
    ck_assert_int_eq(mdb_get(txn, env.dbis[0], &key, &data), 0);
    ck_assert_uint_eq(data.mv_size, VALUE_BYTES);
    for (size_t i = 0; i < data.mv_size; i++)
        if (((const char *)data.mv_data)[i] != (char)('a' + number % 26))
            ck_abort_msg("byte %zu of value %u", i, number);
}

/* A reader that stays inside, and looks at its data until it leaves. */
static void *hold_reader(void *argument) {
    struct waiter *inside = argument;
    struct error error = {0};
    MDB_txn *txn;
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    waiter_signal(inside);
    for (int i = 0; i < HELD_MS / 10; i++) {
        check_value(txn, 1);
        usleep(10000);
    }
    lmdb_env_read_end(&env, txn);
    return NULL;
}

struct visits {
    atomic_bool is_over;
    unsigned served, late;
};

/* Readers that come and go, and give up after 50 ms at the gate. */
static void *visit(void *argument) {
    struct visits *visits = argument;
    while (!atomic_load(&visits->is_over)) {
        struct error error = {0};
        MDB_txn *txn;
        enum status status =
            lmdb_env_read_begin(&env, collection_now_ns() + 50000000, &txn, &error);
        ck_assert(status == STATUS_OK || status == STATUS_TIMEOUT);
        visits->served += status == STATUS_OK;
        visits->late += status != STATUS_OK;
        if (status != STATUS_OK)
            continue;
        check_value(txn, 1);
        lmdb_env_read_end(&env, txn);
        usleep(1000);
    }
    return NULL;
}

START_TEST(growth_waits_for_a_long_reader_and_lets_others_in_between) {
    struct error error = {0};
    struct waiter inside;
    struct visits visits = {0};
    pthread_t holder, visitor;
    begin(0);
    ck_assert_int_eq(put(1), 0);
    waiter_init(&inside);
    pthread_create(&holder, NULL, hold_reader, &inside);
    waiter_wait(&inside);
    pthread_create(&visitor, NULL, visit, &visits);
    uint64_t begun = collection_now_ns();
    ck_assert_int_eq(lmdb_env_grow(&env, &error), STATUS_OK);
    uint64_t waited_ms = (collection_now_ns() - begun) / 1000000;
    atomic_store(&visits.is_over, true);
    pthread_join(holder, NULL);
    pthread_join(visitor, NULL);
    ck_assert_uint_ge(waited_ms, HELD_MS / 2);
    ck_assert_uint_gt(visits.served, 10);
    ck_assert_uint_gt(visits.late, 0);
    ck_assert_uint_eq(env.map_bytes, 2 * MIB);
    end();
}
END_TEST

START_TEST(a_full_map_grows_up_to_its_bound) {
    struct error error = {0};
    uint32_t number = 0;
    int code;
    begin(3 * MIB);
    for (int growths = 0; growths < 2; growths++) {
        while ((code = put(number)) == 0)
            number++;
        ck_assert_int_eq(code, MDB_MAP_FULL);
        ck_assert_int_eq(lmdb_env_grow(&env, &error), STATUS_OK);
    }
    ck_assert_uint_eq(env.map_bytes, 3 * MIB);
    ck_assert_uint_eq(env.map_moves, 2);
    while ((code = put(number)) == 0)
        number++;
    ck_assert_int_eq(code, MDB_MAP_FULL);
    ck_assert_int_eq(lmdb_env_grow(&env, &error), STATUS_NO_SPACE);
    MDB_txn *txn;
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    for (uint32_t i = 0; i < number; i++)
        check_value(txn, i);
    lmdb_env_read_end(&env, txn);
    ck_assert_uint_gt(lmdb_env_used_bytes(&env), 2 * MIB);
    end();
}
END_TEST

#if CAN_LIMIT_ADDRESSES
/* LMDB gives the old map back before it asks for the new one. */
START_TEST(a_growth_for_which_there_are_no_addresses_leaves_the_map_as_it_was) {
    struct error error = {0};
    struct rlimit before, tight;
    unsigned long long pages = 0;
    MDB_txn *txn;
    begin(0);
    for (uint32_t i = 0; i < 50; i++)
        ck_assert_int_eq(put(i), 0);
    env.map_bytes =
        512 * (uint64_t)MIB; /* the next is too large, and this one is never asked for */
    ck_assert_int_eq(lmdb_env_reopen(&env, &error), STATUS_OK);
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%llu", &pages), 1);
    fclose(file);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * MIB;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    enum status status = lmdb_env_grow(&env, &error);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(status, STATUS_NO_MEMORY);
    ck_assert_uint_eq(env.map_bytes, 512 * (uint64_t)MIB);
    ck_assert_int_eq(put(50), 0);
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    for (uint32_t i = 0; i <= 50; i++)
        check_value(txn, i);
    lmdb_env_read_end(&env, txn);
    ck_assert_int_eq(lmdb_env_grow(&env, &error), STATUS_OK);
    end();
}
END_TEST
#endif

#if CAN_LIMIT_ADDRESSES
START_TEST(a_map_for_which_there_are_no_addresses_is_opened_smaller) {
    struct error error = {0};
    struct rlimit before, tight;
    unsigned long long pages = 0;
    MDB_txn *txn;
    begin(0);
    for (uint32_t i = 0; i < 50; i++)
        ck_assert_int_eq(put(i), 0);
    lmdb_env_close(&env);
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%llu", &pages), 1);
    fclose(file);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 5 * GIB;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    const struct lmdb_env_options options = {.path = folder,
                                             .databases = &database,
                                             .databases_count = 1,
                                             .map_bytes = 64 * GIB,
                                             .readers_max = 8};
    enum status status = lmdb_env_open(&env, &options, &error);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_msg(status == STATUS_OK, "%s", error.message);
    ck_assert_uint_eq(env.map_bytes, 4 * GIB);
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    for (uint32_t i = 0; i < 50; i++)
        check_value(txn, i);
    lmdb_env_read_end(&env, txn);
    ck_assert_int_eq(lmdb_env_grow(&env, &error), STATUS_OK);
    ck_assert_uint_eq(env.map_bytes, 8 * GIB);
    end();
}
END_TEST

/* Each asks for a 32nd of all addresses that there are. */
START_TEST(many_environments_share_the_addresses_of_a_process) {
    enum {
        MANY = 100,
    };
    struct error error = {0};
    char path[128];
    struct lmdb_env *envs = calloc(MANY, sizeof(*envs));
    strcpy(folder, "/tmp/nigh-env-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int rounds = 0; rounds < 2; rounds++) { /* what is closed gives its addresses back */
        for (int i = 0; i < MANY; i++) {
            snprintf(path, sizeof(path), "%s/%d", folder, i);
            ck_assert(rounds > 0 || mkdir(path, 0700) == 0);
            const struct lmdb_env_options options = {.path = path,
                                                     .databases = &database,
                                                     .databases_count = 1,
                                                     .map_bytes = 4096 * GIB,
                                                     .readers_max = 8};
            ck_assert_msg(lmdb_env_open(&envs[i], &options, &error) == STATUS_OK, "the %d-th: %s",
                          i, error.message);
            ck_assert_uint_ge(envs[i].map_bytes, 64 * GIB);
        }
        for (int i = 0; i < MANY; i++)
            lmdb_env_close(&envs[i]);
    }
    free(envs);
    fixture_remove(folder);
}
END_TEST
#endif

START_TEST(what_was_committed_is_there_after_reopening) {
    struct error error = {0};
    MDB_txn *txn;
    begin(0);
    for (uint32_t i = 0; i < 50; i++)
        ck_assert_int_eq(put(i), 0);
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    lmdb_env_read_end(&env, txn); /* pooled: it must not outlive the environment */
    ck_assert_int_eq(lmdb_env_reopen(&env, &error), STATUS_OK);
    ck_assert_uint_eq(env.map_moves, 1); /* addresses in the old map are void */
    ck_assert_int_eq(lmdb_env_read_begin(&env, 0, &txn, &error), STATUS_OK);
    for (uint32_t i = 0; i < 50; i++)
        check_value(txn, i);
    lmdb_env_read_end(&env, txn);
    ck_assert_int_eq(put(50), 0);
    end();
}
END_TEST

START_TEST(a_file_that_is_no_environment_is_refused) {
    struct error error = {0};
    char path[128], zeros[8192] = {0};
    begin(0);
    lmdb_env_close(&env);
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    int fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(file_write_all(fd, zeros, sizeof(zeros)), 0);
    close(fd);
    ck_assert_int_eq(open_env(0, &error), STATUS_CORRUPT);
    fixture_remove(folder);
}
END_TEST

/* Opens the file with other first pages. */
static enum status open_with(const uint8_t *bytes, size_t length) {
    struct error error = {0};
    char path[128];
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(file_write_all(fd, bytes, length), 0);
    close(fd);
    enum status status = open_env(0, &error);
    if (status == STATUS_OK)
        lmdb_env_close(&env);
    return status;
}

START_TEST(an_older_state_is_never_taken_for_the_newest) {
    enum {
        PAGE = 4096,
        TRANSACTION_AT = 144,
    };
    char path[128];
    static uint8_t pages[2 * PAGE], damaged[2 * PAGE];
    begin(0);
    for (uint32_t i = 0; i < 3 + (uint32_t)_i; i++) /* the newest state on either page */
        ck_assert_int_eq(put(i), 0);
    lmdb_env_close(&env);
    snprintf(path, sizeof(path), "%s/data.mdb", folder);
    int fd = open(path, O_RDONLY);
    ck_assert_int_eq(read(fd, pages, sizeof(pages)), sizeof(pages));
    close(fd);
    memcpy(damaged, pages + PAGE, PAGE);
    memcpy(damaged + PAGE, pages, PAGE);
    ck_assert_int_eq(open_with(damaged, sizeof(damaged)), STATUS_CORRUPT);
    memset(damaged, 0, sizeof(uint64_t)); /* with numbers that fit, too */
    damaged[PAGE] = 1;
    ck_assert_int_eq(open_with(damaged, sizeof(damaged)), STATUS_CORRUPT);
    for (size_t bit = 0; bit < 128; bit++) {
        if (bit % 64 == 1)
            continue; /* two away: that is as sound as what was written */
        memcpy(damaged, pages, sizeof(damaged));
        damaged[bit / 64 * PAGE + TRANSACTION_AT + bit % 64 / 8] ^= (uint8_t)(1U << bit % 8);
        ck_assert_msg(open_with(damaged, sizeof(damaged)) == STATUS_CORRUPT, "bit %zu", bit);
    }
    ck_assert_int_eq(open_with(pages, sizeof(pages)), STATUS_OK);
    fixture_remove(folder);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("environments");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, growth_waits_for_a_long_reader_and_lets_others_in_between);
    tcase_add_test(tests, a_full_map_grows_up_to_its_bound);
#if CAN_LIMIT_ADDRESSES
    tcase_add_test(tests, a_growth_for_which_there_are_no_addresses_leaves_the_map_as_it_was);
    tcase_add_test(tests, a_map_for_which_there_are_no_addresses_is_opened_smaller);
    tcase_add_test(tests, many_environments_share_the_addresses_of_a_process);
#endif
    tcase_add_test(tests, what_was_committed_is_there_after_reopening);
    tcase_add_test(tests, a_file_that_is_no_environment_is_refused);
    tcase_add_loop_test(tests, an_older_state_is_never_taken_for_the_newest, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
