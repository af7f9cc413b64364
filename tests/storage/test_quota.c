/* A quota of the disk, which the file system's figures do not show: writes say that the disk is
 * full, no map grows for it, and all goes on when there is room again.
 *
 * The program brings its own pwrite(), writev() and fallocate() in front of glibc's, which LMDB
 * calls, too.
 */
#include "storage/catalogue.h"
#include "storage/collection_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum {
    BATCH = 100,
    TRIES = 4, /* more than the failed commits that end all writes */
    MEBIBYTE = 1 << 20,
    DOCUMENT_BYTES = 4 * MEBIBYTE,
};

static atomic_bool is_armed; /* data files may not become longer than they are */
static bool is_short;        /* what still fits is written, as a file system does */

/* ---- In front of glibc ------------------------------------------------------------------------
 */

/* How much of a write the quota lets through. */
static size_t allowed(int fd, size_t length, off_t offset) {
    char path[64], target[512];
    struct stat info;
    if (!atomic_load(&is_armed))
        return length;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t target_length = readlink(path, target, sizeof(target) - 1);
    target[target_length > 0 ? target_length : 0] = '\0';
    if (!strstr(target, "data.mdb") || fstat(fd, &info) < 0 ||
        offset + (off_t)length <= info.st_size)
        return length;
    return is_short && offset < info.st_size ? (size_t)(info.st_size - offset) : 0;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    size_t room = allowed(fd, length, offset);
    if (room > 0 || length == 0)
        return syscall(SYS_pwrite64, fd, bytes, room, offset);
    errno = EDQUOT;
    return -1;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    size_t room = atomic_load(&is_armed) ? allowed(fd, length, lseek(fd, 0, SEEK_CUR)) : length;
    if (room == length)
        return syscall(SYS_writev, fd, parts, count);
    if (room > 0)
        return syscall(SYS_write, fd, parts[0].iov_base,
                       room < parts[0].iov_len ? room : parts[0].iov_len);
    errno = EDQUOT;
    return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (!atomic_load(&is_armed))
        return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    errno = EDQUOT;
    return -1;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static enum status put_record(struct catalogue *catalogue, uint64_t number, struct error *error) {
    static char document[DOCUMENT_BYTES];
    memset(document, ' ', sizeof(document));
    const struct catalogue_record record = {
        .number = number,
        .name = "a",
        .name_length = 1,
        .config = {.document = document, .document_length = sizeof(document)}};
    return catalogue_put(catalogue, &record, error);
}

static void open_catalogue(struct catalogue *catalogue, char folder[64], uint64_t *number) {
    struct error error = {0};
    bool is_new;
    log_configure(LOG_LEVEL_ERROR, false);
    strcpy(folder, "/tmp/nigh-quota-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    *catalogue = (struct catalogue){0};
    ck_assert_int_eq(catalogue_open(catalogue, folder, false, &is_new, &error), STATUS_OK);
    ck_assert_int_eq(catalogue_create(catalogue, &error), STATUS_OK);
    ck_assert_int_eq(catalogue_reserve(catalogue, number, &error), STATUS_OK);
}

/* _i: 1 if writes are cut short. */
START_TEST(a_quota_does_not_let_the_catalogue_grow_its_map) {
    struct catalogue catalogue;
    struct error error = {0};
    char folder[64];
    uint64_t number;
    open_catalogue(&catalogue, folder, &number);
    is_short = _i == 1;
    atomic_store(&is_armed, true);
    for (int i = 0; i < TRIES; i++) {
        ck_assert_int_eq(put_record(&catalogue, number, &error), STATUS_NO_SPACE);
        ck_assert_msg(strstr(error.message, "disk full") != NULL, "%s", error.message);
    }
    ck_assert_uint_eq(catalogue.env.map_bytes, CATALOGUE_MAP_BYTES);
    ck_assert_uint_eq(catalogue.env.map_moves, 0);
    atomic_store(&is_armed, false);
    ck_assert_int_eq(put_record(&catalogue, number, &error), STATUS_OK);
    catalogue_close(&catalogue);
    fixture_remove(folder);
}
END_TEST

START_TEST(the_catalogues_map_grows_up_to_its_bound) {
    struct catalogue catalogue;
    struct error error = {0};
    char folder[64];
    uint64_t number;
    enum status status = STATUS_OK;
    int records = 0;
    open_catalogue(&catalogue, folder, &number);
    ck_assert_uint_eq(catalogue.env.options.map_bytes_max, CATALOGUE_MAP_BYTES_MAX);
    catalogue.env.options.map_bytes_max = 2 * (uint64_t)CATALOGUE_MAP_BYTES;
    while (status == STATUS_OK && records < 2 * CATALOGUE_MAP_BYTES / DOCUMENT_BYTES) {
        status = put_record(&catalogue, number, &error);
        records += status == STATUS_OK;
        if (status == STATUS_OK)
            status = catalogue_reserve(&catalogue, &number, &error);
    }
    ck_assert_int_eq(status, STATUS_NO_SPACE);
    ck_assert_int_gt(records, CATALOGUE_MAP_BYTES / DOCUMENT_BYTES);
    ck_assert_uint_eq(catalogue.env.map_bytes, 2 * (uint64_t)CATALOGUE_MAP_BYTES);
    catalogue_close(&catalogue);
    fixture_remove(folder);
}
END_TEST

START_TEST(a_quota_refuses_writes_and_ends_none_for_ever) {
    struct fixture fixture;
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "main");
    struct collection *collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 0, BATCH, 1, &error), STATUS_OK);
    uint64_t map_bytes = collection->env.map_bytes;
    is_short = _i == 1;
    atomic_store(&is_armed, true);
    for (uint64_t i = 0; i < TRIES; i++) {
        enum status status = STATUS_OK;
        for (uint64_t first = BATCH; status == STATUS_OK; first += BATCH) {
            ck_assert_uint_lt(first, 1000 * BATCH);
            status = fixture_upsert(collection, first, BATCH, i + 2, &error);
        }
        ck_assert_msg(status == STATUS_NO_SPACE, "%s", error.message);
        ck_assert_msg(strstr(error.message, "disk full") != NULL, "%s", error.message);
    }
    ck_assert_uint_eq(collection->env.map_bytes, map_bytes);
    fixture_count(collection);
    atomic_store(&is_armed, false);
    ck_assert_msg(fixture_upsert(collection, 0, BATCH, 1, &error) == STATUS_OK, "%s",
                  error.message);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("quota");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_quota_does_not_let_the_catalogue_grow_its_map, 0, 2);
    tcase_add_test(tests, the_catalogues_map_grows_up_to_its_bound);
    tcase_add_loop_test(tests, a_quota_refuses_writes_and_ends_none_for_ever, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
