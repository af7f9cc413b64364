/* An image that several cores read: what they need of each other is there, whoever is first.
 *
 * The program's own pread stands before that of libc. It holds back whoever reads what slots are
 * until the others have read all codes and had time to go on.
 */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    DIMENSION = 1 << 15,
    ROWS = 1200, /* 38 MiB of codes: enough for a thread besides */
    LINKED = 60, /* rows; the others wait */
    PIECES_MIN = 32,
    PAUSE_US = 30000,
    PATIENCE = 100, /* pauses; where there is one core only, others never come */
};

static struct {
    atomic_bool is_on, has_held_back;
    off_t codes, codes_end, numbers;
    atomic_uint pieces; /* of codes that were read */
    uint32_t pieces_count;
} gate;

static void hold_back(void) {
    for (int i = 0; i < PATIENCE && atomic_load(&gate.pieces) < gate.pieces_count; i++)
        usleep(PAUSE_US / 10);
    usleep(PAUSE_US);
    atomic_store(&gate.has_held_back, true);
}

/* By its symbol: under its name headers may have a checking version inline. */
ssize_t gated_pread(int fd, void *bytes, size_t length, off_t at) __asm__("pread");

ssize_t gated_pread(int fd, void *bytes, size_t length, off_t at) {
    if (atomic_load(&gate.is_on) && at == gate.numbers)
        hold_back();
    ssize_t got = (ssize_t)syscall(SYS_pread64, fd, bytes, length, at);
    if (at >= gate.codes && at < gate.codes_end)
        atomic_fetch_add(&gate.pieces, 1);
    return got;
}

static struct image_bytes make(struct fixture *fixture, struct image_layout *layout) {
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_EUCLID};
    fixture_create(fixture, &options, ROWS);
    fixture_fill_clusters(fixture, 0, LINKED, 3);
    fixture_put(fixture, 0, LINKED, 1);
    fixture_link(fixture, 1);
    fixture_put(fixture, LINKED, ROWS - LINKED, 1);
    struct image_bytes image = image_file_save(fixture->index);
    *layout = image_file_layout(&image);
    const struct image_part *codes = &layout->parts[IMAGE_CODES];
    ck_assert_uint_ge(codes->pieces + layout->parts[IMAGE_LINKS].pieces, PIECES_MIN);
    gate.codes = (off_t)codes->at;
    gate.codes_end = (off_t)(codes->at + codes->bytes);
    gate.numbers = (off_t)layout->parts[IMAGE_NUMBERS].at;
    gate.pieces_count = codes->pieces;
    return image;
}

static void restart_gate(void) {
    atomic_store(&gate.pieces, 0);
    atomic_store(&gate.is_on, true);
}

START_TEST(links_wait_for_what_slots_are) {
    struct fixture fixture;
    struct image_layout layout;
    struct vector_index *loaded;
    struct image_bytes image = make(&fixture, &layout);
    restart_gate();
    ck_assert_msg(image_file_load_fresh(&fixture, &image, NULL, &loaded) == STATUS_OK, "%s",
                  fixture.error.message);
    ck_assert(atomic_load(&gate.has_held_back)); /* else nothing was tried */
    ck_assert_uint_eq(atomic_load(&gate.pieces), gate.pieces_count);
    ck_assert_msg(vector_index_check(loaded, &fixture.error) == STATUS_OK, "%s",
                  fixture.error.message);
    struct vector_index_info info;
    vector_index_info(loaded, &info);
    ck_assert_uint_eq(info.linked_count, LINKED);
    ck_assert_uint_eq(info.waiting_count, ROWS - LINKED);
    vector_index_free(fixture.index);
    fixture.index = loaded;
    for (uint32_t row = 0; row < LINKED; row++) {
        struct index_query query = {
            .vector = fixture_row(&fixture, row), .k = 1, .plan = INDEX_PLAN_GRAPH, .operation = 1};
        ck_assert_uint_eq(fixture_search(&fixture, &query).hits[0].slot, row);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

/* Whoever finds it: the others end, too, those that wait included. */
START_TEST(damage_ends_them_all) {
    static const enum image_part_kind parts[] = {IMAGE_NUMBERS, IMAGE_CODES, IMAGE_LINKS,
                                                 IMAGE_UPPER};
    struct fixture fixture;
    struct image_layout layout;
    struct image_bytes image = make(&fixture, &layout);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const struct image_part *part = &layout.parts[parts[i]];
        size_t last = part->at + part->bytes - 1;
        ck_assert_uint_gt(part->bytes, 0);
        image_file_flip(&image, 8 * last);
        restart_gate();
        image_file_must_refuse(&fixture, &image, NULL, "part", parts[i]);
        image_file_flip(&image, 8 * last);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image_cores");
    TCase *tcase = tcase_create("image_cores");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, links_wait_for_what_slots_are);
    tcase_add_test(tcase, damage_ends_them_all);
    suite_add_tcase(suite, tcase);
    return suite;
}
