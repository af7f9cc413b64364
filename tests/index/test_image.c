/* Saving and loading an index; and every way in which an image can be wrong. */
#include "index/image.h"

#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    ROWS = 5000,
    DIMENSION = 48,
};

struct bytes {
    unsigned char *data;
    size_t length, capacity;
    size_t fails_at; /* the length at which writing fails; 0: never */
};

static enum status append(void *context, const void *bytes, size_t length, struct error *error) {
    struct bytes *to = context;
    if (to->fails_at && to->length + length > to->fails_at)
        return error_set(error, STATUS_NO_SPACE, "full");
    if (to->length + length > to->capacity) {
        to->capacity = (to->length + length) * 2;
        to->data = realloc(to->data, to->capacity);
        ck_assert_ptr_nonnull(to->data);
    }
    memcpy(to->data + to->length, bytes, length);
    to->length += length;
    return STATUS_OK;
}

/* Linked rows, twins, waiting rows, dead rows and a hole. */
static void build(struct fixture *fixture, enum distance distance, uint32_t rows) {
    const struct vector_index_options options = {.dimension = DIMENSION, .distance = distance};
    fixture_create(fixture, &options, rows + 10);
    fixture_fill_clusters(fixture, 0, rows + 10, 3);
    for (uint32_t row = 10; row < 40 && row < rows; row++)
        memcpy(fixture_row(fixture, row), fixture_row(fixture, 9), DIMENSION * sizeof(float));
    fixture_put(fixture, 0, rows - rows / 10, 1);
    fixture_link(fixture, 2);
    fixture_put(fixture, rows - rows / 10, rows / 10 - 5, 1);
}

static void save(struct fixture *fixture, struct bytes *image) {
    ck_assert_int_eq(vector_index_save(fixture->index, 77, 99, append, image, &fixture->error),
                     STATUS_OK);
}

/* An empty index over the same slots and rows. */
static struct vector_index *fresh_index(struct fixture *fixture,
                                        const struct vector_index_options *options) {
    struct vector_index *index;
    ck_assert_int_eq(vector_index_create(options, fixture->slots, &index, &fixture->error),
                     STATUS_OK);
    return index;
}

static enum status load(struct fixture *fixture, const struct bytes *image,
                        struct vector_index **index) {
    uint64_t operation = 0, incarnation = 0;
    *index = fresh_index(fixture, &fixture->options);
    enum status status = vector_index_load(*index, image->data, image->length, &operation,
                                           &incarnation, &fixture->error);
    if (status == STATUS_OK) {
        ck_assert_uint_eq(operation, 77);
        ck_assert_uint_eq(incarnation, 99);
    }
    return status;
}

START_TEST(gives_the_same_answers_after_loading) {
    struct fixture fixture;
    struct bytes image = {0}, again = {0};
    struct vector_index *loaded, *original;
    struct hit before[20];
    build(&fixture, (enum distance)_i, ROWS);
    save(&fixture, &image);
    ck_assert_msg(load(&fixture, &image, &loaded) == STATUS_OK, "%s", fixture.error.message);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    struct vector_index_info a, b;
    vector_index_info(fixture.index, &a);
    vector_index_info(loaded, &b);
    ck_assert_uint_eq(a.linked_count, b.linked_count);
    ck_assert_uint_eq(a.waiting_count, b.waiting_count);
    ck_assert_uint_eq(a.default_ef, b.default_ef);
    original = fixture.index;
    for (uint32_t row = 0; row < 200; row++) {
        struct index_query query = {
            .vector = fixture_row(&fixture, row * 20), .k = 20, .ef = 64, .operation = 1};
        fixture.index = original;
        memcpy(before, fixture_search(&fixture, &query).hits, sizeof(before));
        fixture.index = loaded;
        struct index_answer answer = fixture_search(&fixture, &query);
        for (size_t i = 0; i < 20; i++)
            ck_assert_float_eq(before[i].distance, answer.hits[i].distance);
    }
    /* A loaded index is as good to build on, and to save. */
    save(&fixture, &again);
    ck_assert_uint_eq(again.length, image.length);
    ck_assert_int_eq(vector_index_reserve(loaded, ROWS + 10, &fixture.error), STATUS_OK);
    fixture_put(&fixture, ROWS, 10, 1);
    fixture_link(&fixture, 1);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    vector_index_free(original);
    free(image.data);
    free(again.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_another_index) {
    struct fixture fixture;
    struct bytes image = {0};
    uint64_t operation, incarnation;
    build(&fixture, DISTANCE_COSINE, 300);
    save(&fixture, &image);
    const struct vector_index_options others[] = {
        {.dimension = DIMENSION + 1, .distance = DISTANCE_COSINE},
        {.dimension = DIMENSION, .distance = DISTANCE_DOT},
        {.dimension = DIMENSION, .distance = DISTANCE_COSINE, .m = 8},
    };
    struct vector_index *index = fresh_index(&fixture, &others[_i]);
    ck_assert_int_eq(vector_index_load(index, image.data, image.length, &operation, &incarnation,
                                       &fixture.error),
                     STATUS_CORRUPT);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_every_flipped_bit) {
    struct fixture fixture;
    struct bytes image = {0};
    struct vector_index *index;
    uint64_t state = 1;
    build(&fixture, DISTANCE_EUCLID, 300);
    save(&fixture, &image);
    for (int i = 0; i < 1500; i++) {
        /* All of the header, then anywhere. */
        size_t bit =
            i < 1024 ? (size_t)i : (size_t)(fixture_random(&state) * 8 * (double)image.length);
        image.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        ck_assert_msg(load(&fixture, &image, &index) == STATUS_CORRUPT, "bit %zu", bit);
        vector_index_free(index);
        image.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_every_length_but_its_own) {
    struct fixture fixture;
    struct bytes image = {0};
    struct vector_index *index;
    build(&fixture, DISTANCE_EUCLID, 60);
    save(&fixture, &image);
    size_t whole = image.length;
    image.data = realloc(image.data, whole + 8);
    for (image.length = 0; image.length < whole + 8; image.length += image.length < 300 ? 1 : 8) {
        if (image.length == whole)
            continue;
        ck_assert_int_eq(load(&fixture, &image, &index), STATUS_CORRUPT);
        vector_index_free(index);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* Sums can be right and the content still wrong: a writer with a fault, or a forger. */
START_TEST(survives_content_that_makes_no_sense) {
    struct fixture fixture;
    struct bytes image = {0};
    struct vector_index *index, *original;
    uint64_t state = 9 + (uint64_t)_i;
    int loaded = 0;
    build(&fixture, (enum distance)_i, 400);
    save(&fixture, &image);
    unsigned char *broken = malloc(image.length), *whole = image.data;
    original = fixture.index;
    for (int round = 0; round < 60; round++) {
        size_t section = IMAGE_HEADER_BYTES, end = image.length - sizeof(uint64_t);
        memcpy(broken, whole, image.length);
        for (int i = 0; i < 1 << round % 10; i++) {
            size_t at = section + (size_t)(fixture_random(&state) * (double)(end - section));
            broken[at] = (unsigned char)(fixture_random(&state) * 256);
        }
        uint64_t sum = XXH3_64bits(broken + section, end - section);
        memcpy(broken + end, &sum, sizeof(sum));
        image.data = broken;
        if (load(&fixture, &image, &index) == STATUS_OK) {
            loaded++;
            fixture.index = index;
            fixture_link(&fixture, 1);
            for (uint32_t row = 0; row < 20; row++) {
                struct index_query query = {.vector = fixture_row(&fixture, row),
                                            .k = 5,
                                            .ef = 20 + row * 20,
                                            .exact = row % 5 == 0,
                                            .operation = 1};
                fixture_search(&fixture, &query);
            }
        }
        vector_index_free(index);
    }
    ck_assert_int_gt(loaded, 5);
    fixture.index = original;
    free(broken);
    free(whole);
    fixture_free(&fixture);
}
END_TEST

START_TEST(passes_on_that_writing_failed) {
    struct fixture fixture;
    build(&fixture, DISTANCE_COSINE, ROWS);
    for (size_t at = 1; at < 1000000; at = at * 5 + 1) {
        struct bytes image = {.fails_at = at};
        ck_assert_int_eq(vector_index_save(fixture.index, 1, 1, append, &image, &fixture.error),
                         STATUS_NO_SPACE);
        free(image.data);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(saves_and_loads_nothing) {
    struct fixture fixture;
    struct bytes image = {0};
    struct vector_index *index;
    const struct vector_index_options options = {.dimension = 3};
    fixture_create(&fixture, &options, 1);
    save(&fixture, &image);
    ck_assert_uint_eq(image.length, IMAGE_HEADER_BYTES);
    ck_assert_int_eq(load(&fixture, &image, &index), STATUS_OK);
    vector_index_free(index);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image");
    TCase *tcase = tcase_create("image");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, gives_the_same_answers_after_loading, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, refuses_another_index, 0, 3);
    tcase_add_test(tcase, refuses_every_flipped_bit);
    tcase_add_test(tcase, refuses_every_length_but_its_own);
    tcase_add_loop_test(tcase, survives_content_that_makes_no_sense, 0, DISTANCE_COUNT);
    tcase_add_test(tcase, passes_on_that_writing_failed);
    tcase_add_test(tcase, saves_and_loads_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
