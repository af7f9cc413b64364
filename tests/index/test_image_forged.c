/* Images whose sums are right and whose content is wrong: by a writer with a fault, or a forger. */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 400,
    LEVEL_AT = offsetof(struct image_row, level), /* and the kind after it */
};

/* Searches and builds on what was taken: nothing breaks. */
static void use(struct fixture *fixture) {
    image_file_settle(fixture->index);
    fixture_link(fixture, 1);
    for (uint32_t row = 0; row < 20; row++) {
        struct index_query query = {.vector = fixture_row(fixture, row),
                                    .k = 5,
                                    .ef = 20 + row * 20,
                                    .exact = row % 5 == 0,
                                    .operation = 1};
        fixture_search(fixture, &query);
    }
}

START_TEST(survives_content_that_makes_no_sense) {
    struct fixture fixture;
    struct vector_index *index;
    uint64_t state = 9 + (uint64_t)_i;
    int loaded = 0;
    image_file_build(&fixture, &image_file_kinds[_i], ROWS);
    struct vector_index *original = fixture.index;
    struct image_bytes whole = image_file_save(original);
    struct image_bytes broken = {.data = malloc(whole.length), .length = whole.length};
    const struct image_layout layout = image_file_layout(&whole);
    size_t begin = layout.parts[0].at;
    for (int round = 0; round < 120; round++) {
        memcpy(broken.data, whole.data, whole.length);
        for (int i = 0; i < 1 << round % 10; i++) {
            size_t at = begin + (size_t)(fixture_random(&state) * (double)(whole.length - begin));
            broken.data[at] = (unsigned char)(fixture_random(&state) * 256);
        }
        image_file_seal(&broken, &layout);
        if (image_file_load_fresh(&fixture, &broken, NULL, &index) == STATUS_OK) {
            loaded++;
            fixture.index = index;
            use(&fixture);
        }
        vector_index_free(index);
    }
    ck_assert_int_gt(loaded, 5);
    fixture.index = original;
    free(broken.data);
    free(whole.data);
    fixture_free(&fixture);
}
END_TEST

/* A number that the content is refused for, and where it stands. */
struct forgery {
    const char *what;
    enum image_part_kind part;
    size_t row, at; /* at: in the row */
    uint32_t value;
};

START_TEST(refuses_what_would_lead_astray) {
    struct fixture fixture;
    image_file_build(&fixture, &image_file_kinds[IMAGE_FILE_TURBO_EUCLID], ROWS);
    struct image_bytes image = image_file_save(fixture.index);
    const struct image_layout layout = image_file_layout(&image);
    const float nan = 0.0f / 0.0f;
    uint32_t nan_bits, waiting = 390, twin = 15;
    memcpy(&nan_bits, &nan, sizeof(nan_bits));
    const struct forgery forgeries[] = {
        {"a link beyond the slots", IMAGE_LINKS, 5, 64, layout.rows},
        {"a link to a slot that waits", IMAGE_LINKS, 5, 64, waiting},
        {"a link to a twin", IMAGE_LINKS, 5, 64 + 4, twin},
        {"a filler far beyond", IMAGE_LINKS, 5, 64, HNSW_FILLER | 0x3ffffff},
        {"another scale in the head", IMAGE_LINKS, 5, 16, 0},
        {"a twin of a twin", IMAGE_LINKS, twin, 64 + 8, twin + 1},
        {"a twin of itself", IMAGE_LINKS, twin, 64 + 8, twin},
        {"a twin of nothing", IMAGE_LINKS, twin, 64 + 8, SLOT_NONE},
        {"a twin of another code", IMAGE_LINKS, twin, 64 + 8, 200},
        {"a slot in another's place", IMAGE_NUMBERS, 7, offsetof(struct image_row, slot), 8},
        {"linked without lists", IMAGE_NUMBERS, waiting, LEVEL_AT, IMAGE_ROW_LINKED << 8},
        {"waiting where links lead", IMAGE_NUMBERS, 5, LEVEL_AT, IMAGE_ROW_WAITING << 8},
        {"nothing where links lead", IMAGE_NUMBERS, 5, LEVEL_AT, IMAGE_ROW_EMPTY << 8},
        {"no kind that there is", IMAGE_NUMBERS, 5, LEVEL_AT, IMAGE_ROW_KINDS << 8},
        {"a scale that is no number", IMAGE_NUMBERS, 9, 0, nan_bits},
        {"an error below zero", IMAGE_NUMBERS, 9, offsetof(struct image_row, error), 0xbf800000},
        {"too high a level", IMAGE_NUMBERS, 5, LEVEL_AT, IMAGE_ROW_LINKED << 8 | 9},
        {"a level without lists", IMAGE_NUMBERS, 5, LEVEL_AT, IMAGE_ROW_LINKED << 8 | 3},
        {"an upper link beyond the slots", IMAGE_UPPER, 0, 0, layout.rows},
        {"an upper link to level 0", IMAGE_UPPER, 0, 0, 9},
        {"an upper link with flags", IMAGE_UPPER, 0, 0, 5 | HNSW_KEPT},
    };
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        const struct image_part *part = &layout.parts[forgeries[i].part];
        size_t at = part->at + forgeries[i].row * part->row_bytes + forgeries[i].at;
        uint32_t was;
        memcpy(&was, image.data + at, sizeof(was));
        memcpy(image.data + at, &forgeries[i].value, sizeof(was));
        image_file_seal(&image, &layout);
        image_file_must_refuse(&fixture, &image, NULL, forgeries[i].what, at);
        memcpy(image.data + at, &was, sizeof(was));
    }
    for (uint64_t entry = 0; entry < 4;
         entry++) { /* no slot, one that waits, a wrong level, none */
        const uint64_t entries[] = {layout.rows, waiting, UINT64_C(8) << 32 | 5, HNSW_NO_ENTRY};
        memcpy(image.data + 72, &entries[entry], sizeof(entries[entry]));
        image_file_seal(&image, &layout);
        image_file_must_refuse(&fixture, &image, NULL, "entry", entry);
    }
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("image_forged");
    TCase *tcase = tcase_create("image_forged");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, survives_content_that_makes_no_sense, 0, IMAGE_FILE_KINDS);
    tcase_add_test(tcase, refuses_what_would_lead_astray);
    suite_add_tcase(suite, tcase);
    return suite;
}
