/* Saving and loading an index; and every way in which an image can be wrong. */
#include "index/image.h"

#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    ROWS = 5000,
    DIMENSION = 48, /* lean */
};

/* Both give the same answers, in the same order; in the same way, too, once all edges are there. */
static void must_agree(struct fixture *fixture, struct vector_index *original,
                       struct vector_index *loaded, bool is_settled) {
    struct hit before[20];
    for (uint32_t row = 0; row < 200; row++) {
        struct index_query query = {.vector = fixture_row(fixture, row * (ROWS / 250)),
                                    .k = 20,
                                    .ef = is_settled ? 64 : 400,
                                    .plan = INDEX_PLAN_GRAPH,
                                    .operation = 1};
        fixture->index = original;
        struct index_answer answer = fixture_search(fixture, &query);
        uint64_t scored = answer.scored;
        memcpy(before, answer.hits, sizeof(before));
        fixture->index = loaded;
        answer = fixture_search(fixture, &query);
        ck_assert(!is_settled || answer.scored == scored);
        for (size_t i = 0; i < 20; i++)
            ck_assert_float_eq(before[i].distance, answer.hits[i].distance);
    }
}

/* ---- What is right ----------------------------------------------------------------------------
 */

START_TEST(gives_the_same_answers_after_loading) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[_i], ROWS);
    struct vector_index *original = fixture.index;
    struct image_bytes image = image_file_save(original);
    ck_assert_msg(image_file_load_fresh(&fixture, &image, NULL, &loaded) == STATUS_OK, "%s",
                  fixture.error.message);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    struct vector_index_info a, b;
    vector_index_info(original, &a);
    vector_index_info(loaded, &b);
    must_agree(&fixture, original, loaded, false);
    ck_assert_uint_eq(a.linked_count, b.linked_count);
    ck_assert_uint_eq(a.waiting_count, b.waiting_count);
    ck_assert_uint_eq(a.default_ef, b.default_ef);
    if (_i % 2 == 0)
        image_file_settle(loaded); /* else saving does */
    struct image_bytes again = image_file_save(loaded);
    ck_assert_uint_eq(again.length, image.length);
    ck_assert(memcmp(again.data, image.data, image.length) == 0);
    free(again.data);
    must_agree(&fixture, original, loaded, true);
    vector_index_free(original);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(a_loaded_index_is_as_good_to_build_on) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[_i / 2], ROWS);
    struct image_bytes image = image_file_save(fixture.index);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &loaded), STATUS_OK);
    vector_index_free(fixture.index);
    fixture.index = loaded;
    if (_i % 2 == 1) /* before or after all is read */
        image_file_settle(loaded);
    ck_assert_int_eq(vector_index_reserve(loaded, ROWS + 10, &fixture.error), STATUS_OK);
    fixture_put(&fixture, ROWS, 10, 1);
    fixture_link(&fixture, 2);
    uint32_t dead[100];
    for (uint32_t i = 0; i < 100; i++)
        slots_died(fixture.slots, dead[i] = i * 7, 2);
    ck_assert_int_eq(vector_index_repair(loaded, dead, 100, fixture.scratch, &fixture.error),
                     STATUS_OK);
    image_file_settle(loaded);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    const struct index_query query = {.operation = 2, .ef = 200};
    ck_assert_double_ge(fixture_mean_recall(&fixture, &query, 5, 50, 10), 0.95);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* Memory of this process that lies in pages. */
static size_t resident_bytes(void) {
    unsigned long all, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu %lu", &all, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* A chunk has places for 32,768 slots: those that were never used take no memory after a start,
 * also when its records become whole, damaged or not. */
START_TEST(a_small_index_stays_small_after_loading) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], 500);
    struct image_bytes image = image_file_save(fixture.index);
    const struct image_layout layout = image_file_layout(&image);
    const struct image_part *edges = &layout.parts[IMAGE_EDGES];
    if (_i == 1)
        image_file_flip(&image, 8 * edges->at);
    size_t before = resident_bytes();
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &loaded), STATUS_OK);
    image_file_finish_edges(&fixture, loaded);
    size_t after = resident_bytes();
    ck_assert_msg(after < before + STORE_CHUNK * edges->row_bytes / 4, "%zu, then %zu", before,
                  after);
    ck_assert_int_eq(vector_index_check(loaded, &fixture.error), STATUS_OK);
    vector_index_free(loaded);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* An index that is settled whenever a search asks for a vector. */
struct settled {
    struct fixture *fixture;
    enum index_rest rest; /* as the last call found it */
};

static const float *settle_and_read(void *context, uint32_t slot) {
    struct settled *settled = context;
    do
        settled->rest = vector_index_settle(settled->fixture->index);
    while (settled->rest == INDEX_REST_PIECES);
    return fixture_row(settled->fixture, settled->fixture->row_of[slot]);
}

/* A search that began before the edges were read may look at what is in their place until it ends.
 */
START_TEST(a_running_search_keeps_what_it_may_look_at) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], ROWS);
    struct image_bytes image = image_file_save(fixture.index);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &loaded), STATUS_OK);
    vector_index_free(fixture.index);
    fixture.index = loaded;
    struct settled settled = {.fixture = &fixture, .rest = INDEX_REST_PIECES};
    fixture.owner = (struct vector_owner){.vector = settle_and_read, .context = &settled};
    const struct index_query query = {
        .vector = fixture_row(&fixture, 3), .k = 10, .ef = 64, .operation = 1};
    ck_assert_uint_eq(fixture_search(&fixture, &query).count, 10);
    ck_assert_int_eq(settled.rest, INDEX_REST_IN_USE);
    ck_assert_int_eq(vector_index_settle(loaded), INDEX_REST_NONE);
    ck_assert_int_eq(vector_index_check(loaded, &fixture.error), STATUS_OK);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(saves_and_loads_nothing) {
    struct fixture fixture;
    struct vector_index *index;
    const struct vector_index_options options = {.dimension = 3};
    fixture_create(&fixture, &options, 1);
    struct image_bytes image = image_file_save(fixture.index);
    ck_assert_uint_eq(image.length, IMAGE_PAGE);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &index), STATUS_OK);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* True for bytes of edges, which may be damaged. */
static bool is_edge(const struct image_layout *layout, size_t at) {
    const struct image_part *part = &layout->parts[IMAGE_EDGES];
    return at >= part->at && at < part->at + part->bytes;
}

/* ---- What is damaged --------------------------------------------------------------------------
 */

START_TEST(refuses_another_index) {
    struct fixture fixture;
    image_file_build(&fixture, &image_file_kinds[0], 300);
    struct image_bytes image = image_file_save(fixture.index);
    const struct vector_index_options others[] = {
        {.dimension = DIMENSION + 1, .distance = DISTANCE_COSINE},
        {.dimension = DIMENSION, .distance = DISTANCE_DOT},
        {.dimension = DIMENSION, .distance = DISTANCE_COSINE, .m = 8},
        image_file_kinds[4],
    };
    struct vector_index *index = image_file_fresh(&fixture, &others[_i]);
    ck_assert_int_eq(image_file_load(index, &image, &fixture.error), STATUS_CORRUPT);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_other_profiles) {
    static const enum index_profile others[] = {INDEX_PROFILE_LEAN, INDEX_PROFILE_TURBO_1_BIT,
                                                INDEX_PROFILE_TURBO_4_BITS};
    struct fixture fixture;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], 300);
    struct image_bytes image = image_file_save(fixture.index);
    struct vector_index_options other = image_file_kinds[IMAGE_FILE_TURBO_EUCLID];
    other.profile = others[_i];
    struct vector_index *index = image_file_fresh(&fixture, &other);
    ck_assert_int_eq(image_file_load(index, &image, &fixture.error), STATUS_CORRUPT);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* As from a machine of another kind: planes lie otherwise there. */
START_TEST(edges_of_another_set_of_kernels_are_written_anew) {
    struct fixture fixture;
    struct vector_index *index;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], 1000);
    fixture_link(&fixture, 1);
    struct image_bytes image = image_file_save(fixture.index);
    const struct image_layout layout = image_file_layout(&image);
    ck_assert_str_eq((const char *)image.data + IMAGE_KERNELS_AT, kernels_get()->name);
    memcpy(image.data + IMAGE_KERNELS_AT, "another", 8);
    image_file_seal(&image, &layout);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &index), STATUS_OK);
    image_file_settle(index);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_WHOLE);
    ck_assert_double_gt(image_file_stale_share(index), 0.9);
    image_file_finish_edges(&fixture, index);
    ck_assert_msg(vector_index_check(index, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    ck_assert_double_eq(image_file_stale_share(index), 0);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_images_of_older_versions) {
    struct fixture fixture;
    image_file_build(&fixture, &image_file_kinds[0], 300);
    struct image_bytes image = image_file_save(fixture.index);
    for (uint32_t version = 0; version <= IMAGE_VERSION; version++) {
        if (version == IMAGE_VERSION)
            continue;
        memcpy(image.data + 8, &version, sizeof(version));
        uint64_t sum = XXH3_64bits(image.data, IMAGE_SUM_AT);
        memcpy(image.data + IMAGE_SUM_AT, &sum, sizeof(sum));
        image_file_must_refuse(&fixture, &image, NULL, "version", version);
    }
    /* As version 2 began: a header of 128 bytes with its sum. */
    struct image_bytes second = {.data = calloc(1, 8192), .length = 8192};
    memcpy(second.data, "nighgrph\2", 9);
    uint64_t sum = XXH3_64bits(second.data, 120);
    memcpy(second.data + 120, &sum, sizeof(sum));
    image_file_must_refuse(&fixture, &second, NULL, "version", 2);
    free(second.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_every_flipped_bit) {
    struct fixture fixture;
    uint64_t state = 1;
    image_file_build(&fixture,
                     &image_file_kinds[_i == 0 ? IMAGE_FILE_LEAN_EUCLID : IMAGE_FILE_TURBO_EUCLID],
                     300);
    struct image_bytes image = image_file_save(fixture.index);
    const struct image_layout layout = image_file_layout(&image);
    for (int i = 0; i < 2500; i++) {
        /* What of the header has a meaning, then all pages in turn, each at a random place. */
        size_t page = (size_t)(i % (int)(image.length / IMAGE_PAGE)) * IMAGE_PAGE;
        size_t bit = i < 120 * 8 ? (size_t)i
                                 : 8 * (page + (size_t)(fixture_random(&state) * IMAGE_PAGE)) + 3;
        if (is_edge(&layout, bit / 8))
            continue;
        image_file_flip(&image, bit);
        image_file_must_refuse(&fixture, &image, NULL, "bit", bit);
        image_file_flip(&image, bit);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* Edges are an aid: those of a damaged file are written anew, and until then do without. */
START_TEST(writes_damaged_edges_anew) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], ROWS);
    struct vector_index *original = fixture.index;
    struct image_bytes image = image_file_save(original);
    const struct image_layout layout = image_file_layout(&image);
    const struct image_part edges = layout.parts[IMAGE_EDGES];
    ck_assert_uint_gt(edges.pieces, 1);
    image.data[edges.at + (size_t)_i * (edges.bytes / 4) + 77] ^= 1;
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, NULL, &loaded), STATUS_OK);
    must_agree(&fixture, original, loaded, false);
    image_file_settle(loaded);
    must_agree(&fixture, original, loaded, false);
    fixture.index = loaded;
    while (vector_index_refresh(loaded, fixture.scratch)) {
    } /* first: where slots are linked depends on edges */
    fixture_link(&fixture, 1);
    free(image.data);
    image = image_file_save(loaded);
    fixture.index = original;
    fixture_link(&fixture, 1);
    struct image_bytes again = image_file_save(original);
    ck_assert(memcmp(image.data + edges.at, again.data + edges.at, edges.bytes) == 0);
    vector_index_free(loaded);
    free(again.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_every_length_but_its_own) {
    struct fixture fixture;
    image_file_build(&fixture,
                     &image_file_kinds[_i == 0 ? IMAGE_FILE_LEAN_EUCLID : IMAGE_FILE_TURBO_EUCLID],
                     _i == 0 ? 60 : ROWS);
    struct image_bytes image = image_file_save(fixture.index);
    size_t whole = image.length, step = _i == 0 ? 89 : 37 * IMAGE_PAGE;
    image.data = realloc(image.data, whole + 2 * IMAGE_PAGE);
    memset(image.data + whole, 0, 2 * IMAGE_PAGE);
    for (image.length = 0; image.length <= whole + 2 * IMAGE_PAGE; image.length += step)
        if (image.length != whole)
            image_file_must_refuse(&fixture, &image, NULL, "length", image.length);
    for (image.length = whole - 1; image.length <= whole + 1; image.length += 2)
        image_file_must_refuse(&fixture, &image, NULL, "length", image.length);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* A write that a crash cut short leaves zeros where pages did not reach the disk. */
START_TEST(refuses_pages_that_were_never_written) {
    struct fixture fixture;
    unsigned char page[IMAGE_PAGE];
    image_file_build(&fixture,
                     &image_file_kinds[_i == 0 ? IMAGE_FILE_LEAN_EUCLID : IMAGE_FILE_TURBO_EUCLID],
                     400);
    struct image_bytes image = image_file_save(fixture.index);
    const struct image_layout layout = image_file_layout(&image);
    for (size_t at = 0; at < image.length; at += IMAGE_PAGE) {
        memcpy(page, image.data + at, IMAGE_PAGE);
        memset(image.data + at, 0, IMAGE_PAGE);
        if (!is_edge(&layout, at) && memcmp(page, image.data + at, IMAGE_PAGE) != 0)
            image_file_must_refuse(&fixture, &image, NULL, "page", at);
        memcpy(image.data + at, page, IMAGE_PAGE);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* ---- Writing and reading fail -----------------------------------------------------------------
 */

START_TEST(passes_on_that_writing_failed) {
    struct fixture fixture;
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    image_file_build(&fixture, &image_file_kinds[0], ROWS);
    int fd = open("/dev/full", O_WRONLY);
    ck_assert_int_eq(
        vector_index_save(fixture.index, fd, INDEX_IMAGE_WHOLE, &stamp, &fixture.error),
        STATUS_NO_SPACE);
    close(fd);
    fd = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(
        vector_index_save(fixture.index, fd, INDEX_IMAGE_WHOLE, &stamp, &fixture.error), STATUS_IO);
    close(fd);
    fixture_free(&fixture);
}
END_TEST

/* In its own process: files can be as long as the case says. */
START_TEST(passes_on_that_the_disk_is_full) {
    struct fixture fixture;
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    image_file_build(&fixture, &image_file_kinds[0], ROWS);
    struct image_bytes none = {0};
    for (size_t at = 4096; at < 1000000; at *= 5) {
        int fd = image_file_open(&none);
        const struct rlimit limit = {.rlim_cur = at, .rlim_max = RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_eq(
            vector_index_save(fixture.index, fd, INDEX_IMAGE_WHOLE, &stamp, &fixture.error),
            STATUS_NO_SPACE);
        close(fd);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_what_is_no_file) {
    struct fixture fixture;
    struct index_stamp stamp;
    fixture_create(&fixture, &image_file_kinds[0], 10);
    const char *const paths[] = {"/", "/dev/zero", "/dev/null"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct vector_index *index = image_file_fresh(&fixture, &image_file_kinds[0]);
        const struct index_files files = {.whole = open(paths[i], O_RDONLY), .delta = -1};
        ck_assert_int_eq(vector_index_load(index, &files, &stamp, &fixture.error), STATUS_IO);
        close(files.whole);
        vector_index_free(index);
    }
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image");
    TCase *tcase = tcase_create("image");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, gives_the_same_answers_after_loading, 0, IMAGE_FILE_KINDS);
    tcase_add_loop_test(tcase, a_loaded_index_is_as_good_to_build_on, 0, 2 * IMAGE_FILE_KINDS);
    tcase_add_loop_test(tcase, a_small_index_stays_small_after_loading, 0, 2);
    tcase_add_test(tcase, a_running_search_keeps_what_it_may_look_at);
    tcase_add_test(tcase, saves_and_loads_nothing);
    tcase_add_loop_test(tcase, refuses_another_index, 0, 4);
    tcase_add_loop_test(tcase, refuses_other_profiles, 0, 3);
    tcase_add_test(tcase, edges_of_another_set_of_kernels_are_written_anew);
    tcase_add_test(tcase, refuses_images_of_older_versions);
    tcase_add_loop_test(tcase, refuses_every_flipped_bit, 0, 2);
    tcase_add_loop_test(tcase, writes_damaged_edges_anew, 0, 4);
    tcase_add_loop_test(tcase, refuses_every_length_but_its_own, 0, 2);
    tcase_add_loop_test(tcase, refuses_pages_that_were_never_written, 0, 2);
    tcase_add_test(tcase, passes_on_that_writing_failed);
    tcase_add_test(tcase, passes_on_that_the_disk_is_full);
    tcase_add_test(tcase, refuses_what_is_no_file);
    suite_add_tcase(suite, tcase);
    return suite;
}
