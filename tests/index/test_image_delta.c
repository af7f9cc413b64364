/* Deltas: with their image they are what a whole image would have been; and every way in which one
 * can be wrong, or not belong to the image it lies beside. */
#include "index/hnsw_links.h"
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ROWS = FIXTURE_GRAPH_ROWS / 2,
    SMALL_ROWS = 400,
    DEAD = 40,
    NEW = 15,
    OTHER_DEAD = 5,
    BORN_AGAIN = 25,      /* of the dead */
    HEADER_MEANING = 120, /* bytes of the header before the seeds */
};

/* ---- Changing an index ------------------------------------------------------------------------
 */

/* Slots that die besides and are not used again: in the first round such as wait to be linked, then
 * twins and whom they hang on, of rows 9 to 39. */
static uint32_t other_dead(const struct fixture *fixture, uint32_t round, uint32_t i) {
    return round == 0 ? fixture->capacity - 40 + i : round * 10 + i;
}

/* A round of what an owner does: rows die; some of their slots are used again; others come. In the
 * second round nothing is linked. */
static void change(struct fixture *fixture, struct vector_index *index, uint32_t round,
                   int builders) {
    uint32_t dead[DEAD], rows = fixture->capacity - 10;
    uint64_t operation = 2 + round;
    fixture->index = index;
    for (uint32_t i = 0; i < DEAD; i++) {
        dead[i] = i < OTHER_DEAD ? other_dead(fixture, round, i) : 50 + round * 150 + i * 3;
        slots_died(fixture->slots, dead[i], operation);
    }
    ck_assert_int_eq(vector_index_repair(index, dead, DEAD, fixture->scratch, &fixture->error),
                     STATUS_OK);
    vector_index_epoch_advance(index);
    for (uint32_t i = 0; i < BORN_AGAIN; i++)
        fixture_put_into(fixture, dead[OTHER_DEAD + i], rows - 1 - (round * BORN_AGAIN + i),
                         operation);
    if (round != 1)
        fixture_link(fixture, builders);
    fixture_put_into(fixture, dead[OTHER_DEAD + BORN_AGAIN], 0, operation); /* and waits */
    fixture_check(fixture);
}

/* All that a whole image says of the two is the same, once both have all their edges. The default
 * ef is measured anew by each. */
static void must_be_equal(struct fixture *fixture, struct vector_index *a, struct vector_index *b) {
    image_file_finish_edges(fixture, a);
    image_file_finish_edges(fixture, b);
    struct image_bytes left = image_file_save(a), right = image_file_save(b);
    ck_assert_uint_eq(left.length, right.length);
    ck_assert_int_eq(memcmp(left.data, right.data, 80), 0);
    const struct image_layout layout = image_file_layout(&left);
    for (size_t kind = 0; kind < IMAGE_PARTS; kind++) {
        const struct image_part *part = &layout.parts[kind];
        for (uint32_t row = 0; row < part->rows; row++) {
            uint64_t at = part->at + row * part->row_bytes;
            if (memcmp(left.data + at, right.data + at, part->row_bytes) != 0)
                ck_abort_msg("part %zu, row %u", kind, row);
        }
    }
    ck_assert_int_eq(memcmp(left.data + IMAGE_SEEDS_AT, right.data + IMAGE_SEEDS_AT,
                            HNSW_SEEDS_MAX * sizeof(uint32_t)),
                     0);
    free(left.data);
    free(right.data);
}

/* ---- What is right ----------------------------------------------------------------------------
 */

/* Each kind of index, and the round after which the two are compared. */
START_TEST(image_and_delta_are_what_a_whole_image_would_be) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[_i / 3], ROWS);
    struct vector_index *original = fixture.index;
    struct image_bytes image = image_file_save(original);
    for (uint32_t round = 0; round < 3; round++) {
        change(&fixture, original, round, 1 + (int)round % 2);
        struct image_bytes delta = image_file_save_as(original, INDEX_IMAGE_DELTA);
        ck_assert_uint_lt(delta.length, image.length);
        ck_assert_msg(image_file_load_fresh(&fixture, &image, &delta, &loaded) == STATUS_OK, "%s",
                      fixture.error.message);
        ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                      fixture.error.message);
        if ((int)round == _i % 3) { /* comparing makes a new whole image */
            must_be_equal(&fixture, original, loaded);
            free(image.data);
            image = image_file_save(original);
        }
        vector_index_free(loaded);
        free(delta.data);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* What a start found in the delta is in the next one, too. */
START_TEST(deltas_go_on_after_a_start) {
    struct fixture fixture;
    struct vector_index *loaded, *again;
    image_file_build(&fixture, &image_file_kinds[_i / 2], ROWS);
    struct vector_index *original = fixture.index;
    struct image_bytes image = image_file_save(original);
    change(&fixture, original, 0, 1);
    struct image_bytes delta = image_file_save_as(original, INDEX_IMAGE_DELTA);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, &delta, &loaded), STATUS_OK);
    vector_index_free(original);
    ck_assert_int_eq(vector_index_reserve(loaded, fixture.capacity, &fixture.error), STATUS_OK);
    if (_i % 2 == 1) /* before or after all edges are read */
        image_file_settle(loaded);
    change(&fixture, loaded, 1, 2);
    free(delta.data);
    delta = image_file_save_as(loaded, INDEX_IMAGE_DELTA);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, &delta, &again), STATUS_OK);
    must_be_equal(&fixture, loaded, again);
    vector_index_free(again);
    free(delta.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* Edges whose link, and both codes, are those of the image are read from it; the others count as
 * stale, so that no walk takes one for what it is not. */
START_TEST(edges_of_the_image_serve_where_nothing_changed) {
    struct fixture fixture;
    struct vector_index *loaded;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], ROWS);
    fixture_link(&fixture, 1);
    struct image_bytes image = image_file_save(fixture.index);
    fixture_put(&fixture, ROWS - 5, NEW, 1);
    fixture_link(&fixture, 1);
    struct image_bytes delta = image_file_save_as(fixture.index, INDEX_IMAGE_DELTA);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, &delta, &loaded), STATUS_OK);
    image_file_settle(loaded);
    /* Before any is written anew: the check compares each that does not count as stale. */
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    double stale = image_file_stale_share(loaded);
    ck_assert_double_gt(stale * (ROWS + NEW) * STORE_BLOCK_PLACES, NEW * 16);
    ck_assert_double_lt(stale, 0.1);
    vector_index_free(loaded);
    free(delta.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(a_delta_is_due_while_it_is_worth_while) {
    struct fixture fixture;
    image_file_build(&fixture, &image_file_kinds[_i], ROWS);
    struct vector_index *index = fixture.index;
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_WHOLE);
    free(image_file_save(index).data);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_DELTA);
    vector_index_forget_image(index);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_WHOLE);
    free(image_file_save(index).data);
    int full = open("/dev/full", O_WRONLY);
    ck_assert_int_eq(vector_index_save(index, full, INDEX_IMAGE_DELTA, &stamp, &fixture.error),
                     STATUS_NO_SPACE);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_DELTA); /* what was, still is */
    ck_assert_int_eq(vector_index_save(index, full, INDEX_IMAGE_WHOLE, &stamp, &fixture.error),
                     STATUS_NO_SPACE);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_WHOLE); /* marks are gone */
    close(full);
    struct image_bytes image = image_file_save(index);
    uint32_t *dead = malloc(ROWS * sizeof(*dead)), count = 0;
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        if (vector_index_has(index, slot))
            slots_died(fixture.slots, dead[count++] = slot, 2);
    }
    ck_assert_int_eq(vector_index_repair(index, dead, count, fixture.scratch, &fixture.error),
                     STATUS_OK);
    fixture_put(&fixture, 0, ROWS, 2);
    fixture_link(&fixture, 1);
    ck_assert_int_eq(vector_index_image_due(index), INDEX_IMAGE_WHOLE);
    free(dead);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* ---- While others build -----------------------------------------------------------------------
 */

struct race {
    struct fixture *fixture;
    atomic_bool is_over; /* nothing more is put */
};

static void *link_until_over(void *context) {
    struct race *race = context;
    struct index_scratch *scratch;
    struct error error;
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    for (uint32_t linked = 1; linked > 0 || !atomic_load(&race->is_over);)
        ck_assert_int_eq(vector_index_link(race->fixture->index, 4, scratch, &linked, &error),
                         STATUS_OK);
    index_scratch_free(scratch);
    return NULL;
}

static void *put_all(void *context) {
    struct race *race = context;
    for (uint32_t row = SMALL_ROWS; row < race->fixture->capacity - 10; row++)
        fixture_put(race->fixture, row, 1, 1);
    atomic_store(&race->is_over, true);
    return NULL;
}

/* Images and deltas that are made while slots are put and linked load, and the last has all. */
START_TEST(nothing_is_lost_between_an_image_and_its_delta) {
    struct fixture fixture;
    struct vector_index *loaded;
    pthread_t threads[3];
    fixture_create(&fixture, &image_file_kinds[_i], FIXTURE_GRAPH_ROWS / 2 + 10);
    fixture_fill_clusters(&fixture, 0, fixture.capacity, 3);
    fixture_put(&fixture, 0, SMALL_ROWS, 1);
    fixture_link(&fixture, 1);
    struct race race = {.fixture = &fixture};
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, link_until_over, &race), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, put_all, &race), 0);
    struct image_bytes image = {0}, delta = {0};
    for (bool is_last = false; !is_last;) {
        is_last = atomic_load(&race.is_over);
        free(image.data);
        image = image_file_save(fixture.index);
        delta = image_file_save_as(fixture.index, INDEX_IMAGE_DELTA);
        ck_assert_msg(image_file_load_fresh(&fixture, &image, &delta, &loaded) == STATUS_OK, "%s",
                      fixture.error.message);
        vector_index_free(loaded);
        free(delta.data);
    }
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    delta = image_file_save_as(fixture.index, INDEX_IMAGE_DELTA);
    ck_assert_int_eq(image_file_load_fresh(&fixture, &image, &delta, &loaded), STATUS_OK);
    must_be_equal(&fixture, fixture.index, loaded);
    vector_index_free(loaded);
    free(delta.data);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* ---- What is damaged, or does not belong ------------------------------------------------------
 */

/* An image and a delta of a small index; the fixture's index is what both tell of. */
struct pair {
    struct fixture fixture;
    struct image_bytes image, delta;
    struct image_layout layout; /* of the delta */
};

static void pair_make(struct pair *pair, int kind) {
    image_file_build(&pair->fixture, &image_file_kinds[kind], SMALL_ROWS);
    pair->image = image_file_save(pair->fixture.index);
    change(&pair->fixture, pair->fixture.index, 0, 1);
    pair->delta = image_file_save_as(pair->fixture.index, INDEX_IMAGE_DELTA);
    pair->layout = image_file_layout(&pair->delta);
}

static void pair_free(struct pair *pair) {
    free(pair->image.data);
    free(pair->delta.data);
    fixture_free(&pair->fixture);
}

static int lean_or_turbo(int i) {
    return i == 0 ? IMAGE_FILE_LEAN_EUCLID : IMAGE_FILE_TURBO_EUCLID;
}

START_TEST(refuses_every_flipped_bit) {
    struct pair pair;
    uint64_t state = 1;
    pair_make(&pair, lean_or_turbo(_i));
    size_t pages = pair.delta.length / IMAGE_PAGE;
    for (size_t i = 0; i < 1500; i++) {
        size_t page = i % pages * IMAGE_PAGE;
        size_t bit = i < HEADER_MEANING * 8
                         ? i
                         : 8 * (page + (size_t)(fixture_random(&state) * IMAGE_PAGE)) + 3;
        image_file_flip(&pair.delta, bit);
        image_file_must_refuse(&pair.fixture, &pair.image, &pair.delta, "bit", bit);
        image_file_flip(&pair.delta, bit);
    }
    pair_free(&pair);
}
END_TEST

START_TEST(refuses_every_length_but_its_own) {
    struct pair pair;
    pair_make(&pair, lean_or_turbo(_i));
    size_t whole = pair.delta.length;
    pair.delta.data = realloc(pair.delta.data, whole + 2 * IMAGE_PAGE);
    memset(pair.delta.data + whole, 0, 2 * IMAGE_PAGE);
    for (size_t length = 0; length <= whole + 2 * IMAGE_PAGE; length += 2039) {
        pair.delta.length = length;
        if (length != whole)
            image_file_must_refuse(&pair.fixture, &pair.image, &pair.delta, "length", length);
    }
    for (pair.delta.length = whole - 1; pair.delta.length <= whole + 1; pair.delta.length += 2)
        image_file_must_refuse(&pair.fixture, &pair.image, &pair.delta, "length", whole);
    pair_free(&pair);
}
END_TEST

START_TEST(refuses_pages_that_were_never_written) {
    struct pair pair;
    unsigned char page[IMAGE_PAGE];
    pair_make(&pair, lean_or_turbo(_i));
    for (size_t at = 0; at < pair.delta.length; at += IMAGE_PAGE) {
        memcpy(page, pair.delta.data + at, IMAGE_PAGE);
        memset(pair.delta.data + at, 0, IMAGE_PAGE);
        if (memcmp(page, pair.delta.data + at, IMAGE_PAGE) != 0)
            image_file_must_refuse(&pair.fixture, &pair.image, &pair.delta, "page", at);
        memcpy(pair.delta.data + at, page, IMAGE_PAGE);
    }
    pair_free(&pair);
}
END_TEST

/* Loads both and returns up to which operation they know the index. */
static uint64_t load(struct pair *pair, const struct image_bytes *image) {
    uint64_t operation;
    struct vector_index *index = image_file_fresh(&pair->fixture, &pair->fixture.options);
    ck_assert_msg(image_file_load_both(index, image, &pair->delta, &operation,
                                       &pair->fixture.error) == STATUS_OK,
                  "%s", pair->fixture.error.message);
    ck_assert_int_eq(vector_index_check(index, &pair->fixture.error), STATUS_OK);
    vector_index_free(index);
    return operation;
}

/* A crash between the renaming of a new image and the removal of the delta before it; or an image
 * that came from elsewhere. */
START_TEST(passes_over_the_delta_of_another_image) {
    struct pair pair;
    pair_make(&pair, lean_or_turbo(_i));
    uint64_t operation = load(&pair, &pair.image);
    struct image_bytes newer = image_file_save(pair.fixture.index);
    ck_assert_uint_eq(load(&pair, &newer), operation - 1);
    free(newer.data);
    pair_free(&pair);
}
END_TEST

/* Sums and lengths of these are right. */
struct forgery {
    const char *what;
    enum image_part_kind part;
    size_t row, at; /* at: in the row */
    uint32_t value;
};

static void must_refuse(struct pair *pair, const char *what, size_t at, uint32_t value) {
    uint32_t was;
    memcpy(&was, pair->delta.data + at, sizeof(was));
    memcpy(pair->delta.data + at, &value, sizeof(value));
    image_file_seal(&pair->delta, &pair->layout);
    image_file_must_refuse(&pair->fixture, &pair->image, &pair->delta, what, at);
    memcpy(pair->delta.data + at, &was, sizeof(was));
}

/* The first row of the delta of this kind, from `first` on. */
static uint32_t find_row(const struct pair *pair, uint32_t first, enum image_row_kind kind) {
    for (uint32_t row = first; row < pair->layout.rows; row++) {
        struct image_row numbers;
        memcpy(&numbers,
               pair->delta.data + pair->layout.parts[IMAGE_NUMBERS].at + row * sizeof(numbers),
               sizeof(numbers));
        if (numbers.kind == kind)
            return row;
    }
    ck_abort_msg("no such row");
}

START_TEST(refuses_what_would_lead_astray) {
    struct pair pair;
    pair_make(&pair, IMAGE_FILE_TURBO_EUCLID);
    uint32_t codes = pair.layout.code_rows;
    uint32_t linked = find_row(&pair, codes, IMAGE_ROW_LINKED);
    const size_t slot_at = offsetof(struct image_row, slot), kind_at = slot_at + 4;
    const struct forgery forgeries[] = {
        {"a slot beyond all", IMAGE_NUMBERS, linked, slot_at, SMALL_ROWS + 10},
        {"a slot twice", IMAGE_NUMBERS, linked, slot_at, 50},
        {"a slot without a code", IMAGE_NUMBERS, linked, slot_at, SMALL_ROWS - 3},
        {"no kind that there is", IMAGE_NUMBERS, linked, kind_at, IMAGE_ROW_KINDS << 8},
        {"nothing where links lead", IMAGE_NUMBERS, linked, kind_at, IMAGE_ROW_EMPTY << 8},
        {"a scale below zero", IMAGE_NUMBERS, linked, 0, 0xbf800000},
        {"a link beyond the slots", IMAGE_LINKS, linked, 64, SMALL_ROWS + 10},
        {"another scale in the head", IMAGE_LINKS, linked, 16, 0},
        {"an upper link beyond the slots", IMAGE_UPPER, 0, 0, SMALL_ROWS + 10},
    };
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        const struct image_part *part = &pair.layout.parts[forgeries[i].part];
        must_refuse(&pair, forgeries[i].what,
                    part->at + forgeries[i].row * part->row_bytes + forgeries[i].at,
                    forgeries[i].value);
    }
    must_refuse(&pair, "an operation before the image's", 80, 5);
    must_refuse(&pair, "another incarnation", 88, 5);
    must_refuse(&pair, "a default ef of 0", 96, 0);
    must_refuse(&pair, "an entry that is not linked", 72, SMALL_ROWS - 6);
    must_refuse(&pair, "fewer codes than rows without one", 60, 0);
    must_refuse(&pair, "more rows than slots", 64, pair.layout.rows - 1);
    pair_free(&pair);
}
END_TEST

START_TEST(survives_content_that_makes_no_sense) {
    struct pair pair;
    struct vector_index *index, *original;
    uint64_t state = 9 + (uint64_t)_i;
    int loaded = 0;
    pair_make(&pair, _i);
    original = pair.fixture.index;
    struct image_bytes broken = {.data = malloc(pair.delta.length), .length = pair.delta.length};
    size_t begin = pair.layout.parts[0].at;
    for (int round = 0; round < 60; round++) {
        memcpy(broken.data, pair.delta.data, broken.length);
        for (int i = 0; i < 1 << round % 5; i++) {
            size_t at = begin + (size_t)(fixture_random(&state) * (double)(broken.length - begin));
            broken.data[at] = (unsigned char)(fixture_random(&state) * 256);
        }
        image_file_seal(&broken, &pair.layout);
        if (image_file_load_fresh(&pair.fixture, &pair.image, &broken, &index) == STATUS_OK) {
            loaded++;
            pair.fixture.index = index;
            image_file_finish_edges(&pair.fixture, index);
            fixture_link(&pair.fixture, 1);
            struct index_query query = {.vector = fixture_row(&pair.fixture, (uint32_t)round),
                                        .k = 5,
                                        .ef = 100,
                                        .operation = 9};
            fixture_search(&pair.fixture, &query);
        }
        vector_index_free(index);
    }
    ck_assert_int_gt(loaded, 0);
    pair.fixture.index = original;
    free(broken.data);
    pair_free(&pair);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image_delta");
    TCase *right = tcase_create("right"), *damaged = tcase_create("damaged");
    tcase_set_timeout(right, 120);
    tcase_set_timeout(damaged, 120);
    tcase_add_loop_test(right, image_and_delta_are_what_a_whole_image_would_be, 0,
                        3 * IMAGE_FILE_KINDS);
    tcase_add_loop_test(right, deltas_go_on_after_a_start, 0, 2 * IMAGE_FILE_KINDS);
    tcase_add_test(right, edges_of_the_image_serve_where_nothing_changed);
    tcase_add_loop_test(right, a_delta_is_due_while_it_is_worth_while, 0, 6);
    tcase_add_loop_test(right, nothing_is_lost_between_an_image_and_its_delta, 3, 6);
    tcase_add_loop_test(damaged, refuses_every_flipped_bit, 0, 2);
    tcase_add_loop_test(damaged, refuses_every_length_but_its_own, 0, 2);
    tcase_add_loop_test(damaged, refuses_pages_that_were_never_written, 0, 2);
    tcase_add_loop_test(damaged, passes_over_the_delta_of_another_image, 0, 2);
    tcase_add_test(damaged, refuses_what_would_lead_astray);
    tcase_add_loop_test(damaged, survives_content_that_makes_no_sense, 0, IMAGE_FILE_KINDS);
    suite_add_tcase(suite, right);
    suite_add_tcase(suite, damaged);
    return suite;
}
