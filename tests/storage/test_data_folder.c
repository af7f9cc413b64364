/* The data folder: what it refuses to be opened for, and that no folder is removed without proof
 * that it is nobody's. */
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <sys/stat.h>

static struct fixture fixture;

static void setup(void) {
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "first");
    struct collection *collection = fixture_acquire(&fixture, "first");
    ck_assert_int_eq(fixture_upsert(collection, 1, 10, 1, &error), STATUS_OK);
    storage_release_collection(collection);
}

static void teardown(void) {
    fixture_remove(fixture.path);
}

static const char *inside(const char *name) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", fixture.path, name);
    return path;
}

static bool exists(const char *name) {
    return access(inside(name), F_OK) == 0;
}

static void copy_file(const char *from, const char *to) {
    static char buffer[1 << 20];
    FILE *in = fopen(inside(from), "rb");
    ck_assert_ptr_nonnull(in);
    size_t n = fread(buffer, 1, sizeof(buffer), in);
    fclose(in);
    FILE *out = fopen(inside(to), "wb");
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(buffer, 1, n, out), n);
    fclose(out);
}

static void expect_refusal(const char *part) {
    struct error error = {0};
    struct storage *storage = NULL;
    ck_assert_int_ne(storage_open(&fixture.options, &storage, &error), STATUS_OK);
    ck_assert_msg(strstr(error.message, part) != NULL, "%s", error.message);
}

START_TEST(a_lost_catalogue_stops_the_start_again_and_again) {
    fixture_close(&fixture);
    ck_assert_int_eq(unlink(inside("catalogue/data.mdb")), 0);
    for (int i = 0; i < 2; i++)
        expect_refusal("the catalogue of");
    ck_assert(exists("collections/0000000000000001/data.mdb"));
}
END_TEST

START_TEST(an_emptied_catalogue_stops_the_start) {
    fixture_close(&fixture);
    ck_assert_int_eq(truncate(inside("catalogue/data.mdb"), 0), 0);
    expect_refusal("the catalogue of");
    ck_assert(exists("collections/0000000000000001/data.mdb"));
}
END_TEST

START_TEST(an_old_copy_of_the_catalogue_removes_nothing_and_reuses_no_number) {
    struct error error = {0};
    fixture_close(&fixture);
    copy_file("catalogue/data.mdb", "old-catalogue");
    fixture_open(&fixture);
    fixture_create(&fixture, "second");
    struct collection *collection = fixture_acquire(&fixture, "second");
    ck_assert_int_eq(fixture_upsert(collection, 1, 5, 1, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_close(&fixture);
    copy_file("old-catalogue", "catalogue/data.mdb");

    fixture_open(&fixture);
    ck_assert(!storage_has_collection(fixture.storage, "second"));
    fixture_create(&fixture, "third");
    collection = fixture_acquire(&fixture, "third");
    ck_assert_uint_eq(fixture_count(collection), 0);
    storage_release_collection(collection);
    fixture_close(&fixture);
    ck_assert(exists("collections/0000000000000002/data.mdb"));
    ck_assert(exists("collections/0000000000000003/data.mdb"));
}
END_TEST

START_TEST(a_folder_that_the_catalogue_does_not_know_is_left_alone) {
    fixture_close(&fixture);
    ck_assert_int_eq(mkdir(inside("collections/00000000000000ff"), 0750), 0);
    fixture_open(&fixture);
    fixture_create(&fixture, "second");
    fixture_close(&fixture);
    ck_assert(exists("collections/00000000000000ff"));
    ck_assert(exists("collections/0000000000000100/data.mdb"));
}
END_TEST

START_TEST(a_deleted_collection_leaves_no_folder) {
    bool existed;
    ck_assert_int_eq(fixture_delete(&fixture, "first", &existed), STATUS_OK);
    ck_assert(existed && !exists("collections/0000000000000001"));
    fixture_reopen(&fixture);
    ck_assert(!exists("collections/0000000000000001"));
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_folder_in_use_is_refused) {
    expect_refusal("is in use");
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_path_that_is_a_file_is_refused) {
    fixture_close(&fixture);
    fixture.options.path = "/dev/null";
    expect_refusal("/dev/null");
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("data_folder");
    TCase *tcase = tcase_create("data_folder");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_lost_catalogue_stops_the_start_again_and_again);
    tcase_add_test(tcase, an_emptied_catalogue_stops_the_start);
    tcase_add_test(tcase, an_old_copy_of_the_catalogue_removes_nothing_and_reuses_no_number);
    tcase_add_test(tcase, a_folder_that_the_catalogue_does_not_know_is_left_alone);
    tcase_add_test(tcase, a_deleted_collection_leaves_no_folder);
    tcase_add_test(tcase, a_folder_in_use_is_refused);
    tcase_add_test(tcase, a_path_that_is_a_file_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
