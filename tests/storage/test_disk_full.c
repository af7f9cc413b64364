/* A full disk: writes say so and leave no trace, reads and deletions go on, and writes resume when
 * there is space again. On a tmpfs with a size; skipped aloud where it cannot be mounted. */
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

enum {
    BATCH = 100,
    BATCHES_MAX = 4000,
    MEBIBYTE = 1024 * 1024,
};

static const unsigned sizes_mib[] = {3, 4, 6, 9, 14, 20};

static bool mount_small(struct fixture *fixture, unsigned mib) {
    char options[32];
    fixture_prepare(fixture);
    snprintf(options, sizeof(options), "size=%um", mib);
    if (mount("tmpfs", fixture->path, "tmpfs", 0, options) == 0)
        return true;
    fprintf(stderr, "SKIPPED: a tmpfs cannot be mounted here: %s\n", strerror(errno));
    rmdir(fixture->path);
    return false;
}

static void unmount(struct fixture *fixture) {
    fixture_close(fixture);
    ck_assert_int_eq(umount(fixture->path), 0);
    rmdir(fixture->path);
}

/* Upserts until the disk is full; returns how many batches were acknowledged. */
static uint64_t fill(struct collection *collection, uint64_t batch) {
    struct error error = {0};
    enum status status = STATUS_OK;
    for (; batch < BATCHES_MAX; batch++) {
        status = fixture_upsert(collection, batch * BATCH, BATCH, 1, &error);
        if (status != STATUS_OK)
            break;
    }
    ck_assert_int_eq(status, STATUS_NO_SPACE);
    ck_assert_msg(strstr(error.message, "disk full") != NULL, "%s", error.message);
    return batch;
}

static void check_points(struct collection *collection, uint64_t first, uint64_t end) {
    struct read read;
    uint64_t count;
    read_begin(&read, collection);
    ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, end - first);
    for (uint64_t id = first; id < end; id += 7)
        fixture_expect_point(read.reader, id, 1);
    read_end(&read);
}

/* _i: the size. With a reserve even, without one odd. */
START_TEST(a_full_disk_refuses_writes_and_takes_them_again_after_deletions) {
    struct fixture fixture;
    struct error error = {0};
    if (!mount_small(&fixture, sizes_mib[_i]))
        return;
    fixture.options.disk_reserve_bytes = _i % 2 == 0 ? MEBIBYTE : 0;
    fixture_open(&fixture);
    fixture_create(&fixture, "full");
    struct collection *collection = fixture_acquire(&fixture, "full");
    uint64_t batches = fill(collection, 0);
    check_points(collection, 0, batches * BATCH);
    ck_assert_uint_eq(fill(collection, batches), batches); /* it stays full, and sound */
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "full");
    check_points(collection, 0, batches * BATCH);
    if (_i % 2 == 0) { /* with a reserve deletions always have room */
        uint64_t kept = batches / 2 * BATCH;
        for (uint64_t first = 0; first < kept; first += BATCH)
            ck_assert_msg(fixture_remove_points(collection, first, BATCH, &error) == STATUS_OK,
                          "%s", error.message);
        check_points(collection, kept, batches * BATCH);
        if (kept >= 40 * BATCH) /* what they freed inside the file is enough to go on */
            ck_assert_msg(fixture_upsert(collection, 0, BATCH, 1, &error) == STATUS_OK, "%s",
                          error.message);
    }
    storage_release_collection(collection);
    unmount(&fixture);
}
END_TEST

START_TEST(writes_resume_when_another_program_gives_the_space_back) {
    struct fixture fixture;
    struct error error = {0};
    char path[128];
    char block[4096] = {1};
    if (!mount_small(&fixture, 24))
        return;
    fixture_open(&fixture);
    fixture_create(&fixture, "full");
    struct collection *collection = fixture_acquire(&fixture, "full");
    ck_assert_int_eq(fixture_upsert(collection, 0, BATCH, 1, &error), STATUS_OK);
    snprintf(path, sizeof(path), "%s/filler", fixture.path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    close(fd);
    uint64_t batches = fill(collection, 1);
    check_points(collection, 0, batches * BATCH);
    ck_assert_int_eq(unlink(path), 0);
    for (uint64_t i = 0; i < 20; i++)
        ck_assert_msg(fixture_upsert(collection, (batches + i) * BATCH, BATCH, 1, &error) ==
                          STATUS_OK,
                      "%s", error.message);
    check_points(collection, 0, (batches + 20) * BATCH);
    storage_release_collection(collection);
    unmount(&fixture);
}
END_TEST

START_TEST(a_map_that_may_not_grow_refuses_writes_and_takes_deletions) {
    struct fixture fixture;
    struct error error = {0};
    fixture_prepare(&fixture);
    fixture.options.map_bytes = MEBIBYTE;
    fixture.options.map_bytes_max = 2 * MEBIBYTE;
    fixture_open(&fixture);
    fixture_create(&fixture, "small");
    struct collection *collection = fixture_acquire(&fixture, "small");
    uint64_t batch = 0;
    while (batch < BATCHES_MAX &&
           fixture_upsert(collection, batch * BATCH, BATCH, 1, &error) == STATUS_OK)
        batch++;
    ck_assert_uint_lt(batch, BATCHES_MAX);
    ck_assert_int_eq(error.status, STATUS_NO_SPACE);
    check_points(collection, 0, batch * BATCH);
    for (uint64_t i = 0; i < batch / 2; i++)
        ck_assert_msg(fixture_remove_points(collection, i * BATCH, BATCH, &error) == STATUS_OK,
                      "%s", error.message);
    check_points(collection, batch / 2 * BATCH, batch * BATCH);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("disk full");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_full_disk_refuses_writes_and_takes_them_again_after_deletions, 0,
                        sizeof(sizes_mib) / sizeof(sizes_mib[0]));
    tcase_add_test(tests, writes_resume_when_another_program_gives_the_space_back);
    tcase_add_test(tests, a_map_that_may_not_grow_refuses_writes_and_takes_deletions);
    suite_add_tcase(suite, tests);
    return suite;
}
