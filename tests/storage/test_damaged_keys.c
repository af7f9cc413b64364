/* Keys that were damaged: a record that is no longer found under its key must not be taken for one
 * that is not there. Bits are flipped in what leads a lookup, one at a time: then the collection is
 * refused as corrupt, or every answer is right. */
#include "storage/collection_databases.h"
#include "tests/storage/damage_child.h"
#include "tests/storage/lmdb_pages.h"
#include "tests/support/run_suite.h"

enum {
    ID_MAX = 200,
    LONG_MAX = 320,
    TAGS = 5,
    PAYLOAD_MAX = LONG_MAX + 100,
    COMMIT = 5, /* points */
    NEXT = 37,  /* from one point to the next that is written */
    FILES = 2,
    ONE_IN = 2000, /* of the damages that lmdb_check refuses, those that a process meets */
    COLLECTIONS = 5,
};

/* Two shapes of one collection: one in which every bit can be tried, and one with trees of three
 * levels. */
static const struct shape {
    unsigned points, id_bytes, long_bytes;
    unsigned levels; /* of the trees of points and postings */
} shapes[] = {
    {.points = 100, .id_bytes = 20, .long_bytes = 20, .levels = 2},
    {.points = 500, .id_bytes = ID_MAX, .long_bytes = LONG_MAX, .levels = 3},
};

static const struct shape *shape;

/* ---- The collection ---------------------------------------------------------------------------
 */

static struct point_id id_of(unsigned number, char text[ID_MAX + 1]) {
    snprintf(text, ID_MAX + 1, "%0*u", (int)shape->id_bytes, number);
    return (struct point_id){
        .kind = POINT_ID_TEXT, .text = text, .text_length = (uint8_t)shape->id_bytes};
}

static size_t payload_of(unsigned number, char payload[PAYLOAD_MAX]) {
    return (size_t)snprintf(payload, PAYLOAD_MAX, "{\"n\":%u,\"tag\":\"t%u\",\"long\":\"%0*u\"}",
                            number, number % TAGS, (int)shape->long_bytes, number);
}

static void add_index(struct collection *collection, const char *path,
                      enum payload_index_type type) {
    struct arena arena;
    struct error error = {0};
    struct operation operation = {.kind = OPERATION_CREATE_INDEX};
    arena_init(&arena, 65536);
    operation.field.type = type;
    ck_assert_int_eq(payload_path_parse(path, strlen(path), &arena, &operation.field.path, &error),
                     STATUS_OK);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
    arena_free(&arena);
}

static unsigned points_written(void) {
    return shape->points + shape->points / 4;
}

/* Points are written in no order, a few a commit: pages are split in the middle, and lie anywhere.
 * One in five is not to stay, so that some slots are free. */
static void add_points(struct collection *collection, unsigned first) {
    struct point_input points[COMMIT];
    struct named_vector vectors[COMMIT];
    float values[COMMIT][FIXTURE_DIMENSION];
    char texts[COMMIT][ID_MAX + 1], payloads[COMMIT][PAYLOAD_MAX];
    struct error error = {0};
    for (unsigned i = 0; i < COMMIT; i++) {
        unsigned number = (first + i) * NEXT % points_written();
        fixture_vector(number, 1, values[i], FIXTURE_DIMENSION);
        vectors[i] =
            (struct named_vector){.name = "", .values = values[i], .count = FIXTURE_DIMENSION};
        points[i] = (struct point_input){.id = id_of(number, texts[i]),
                                         .vectors = &vectors[i],
                                         .vectors_count = 1,
                                         .payload = payloads[i],
                                         .payload_length = payload_of(number, payloads[i])};
    }
    const struct operation operation = {
        .kind = OPERATION_UPSERT, .points = points, .points_count = COMMIT};
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
}

static void remove_point(struct collection *collection, unsigned number) {
    char text[ID_MAX + 1];
    struct error error = {0};
    const struct point_id id = id_of(number, text);
    const struct operation operation = {.kind = OPERATION_DELETE,
                                        .selector = {.ids = &id, .ids_count = 1}};
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
}

/* The data file, and slots.bin, in whose place a start would read all rows. */
static void begin(struct fixture *fixture, struct file files[FILES]) {
    fixture_begin(fixture);
    fixture_create(fixture, "bad");
    struct collection *collection = fixture_acquire(fixture, "bad");
    add_index(collection, "n", PAYLOAD_INDEX_INTEGER);
    add_index(collection, "tag", PAYLOAD_INDEX_KEYWORD);
    add_index(collection, "long", PAYLOAD_INDEX_KEYWORD);
    for (unsigned first = 0; first < points_written(); first += COMMIT)
        add_points(collection, first);
    for (unsigned i = shape->points; i < points_written(); i++)
        remove_point(collection, i);
    storage_release_collection(collection);
    fixture_close(fixture);
    read_file_of(&files[0], fixture->path, 1, "data.mdb");
    read_file_of(&files[1], fixture->path, 1, "slots.bin");
}

static void end(struct fixture *fixture, struct file files[FILES]) {
    for (unsigned i = 0; i < FILES; i++)
        free(files[i].bytes);
    fixture_remove(fixture->path);
}

/* ---- Every answer: right, or that something is damaged ------------------------------------------
 */

static bool has_reported;

static bool is_answered(enum status status, const struct error *error) {
    must(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_IO, error->message);
    has_reported |= status != STATUS_OK;
    return status == STATUS_OK;
}

static void check_filter(struct reader *reader, const char *path,
                         const struct payload_scalar *value, uint64_t expected) {
    struct arena arena;
    struct error error = {0};
    uint64_t count;
    struct condition condition = {.kind = CONDITION_MATCH, .values = value, .values_count = 1};
    const struct filter filter = {.must = {.items = &condition, .count = 1}};
    arena_init(&arena, 65536);
    must(payload_path_parse(path, strlen(path), &arena, &condition.path, &error) == STATUS_OK,
         "a path");
    if (is_answered(reader_count(reader, &filter, &count, &error), &error))
        must(count == expected, path);
    arena_free(&arena);
}

static void check_string(struct reader *reader, const char *path, const char *text,
                         uint64_t expected) {
    const struct payload_scalar value = {
        .type = PAYLOAD_STRING, .string = text, .string_length = strlen(text)};
    check_filter(reader, path, &value, expected);
}

static void check_filters(struct reader *reader) {
    for (unsigned i = 0; i < shape->points; i++) {
        char text[LONG_MAX + 1];
        const struct payload_scalar number = {.type = PAYLOAD_NUMBER,
                                              .number = payload_number_from_u64(i)};
        check_filter(reader, "n", &number, 1);
        snprintf(text, sizeof(text), "%0*u", (int)shape->long_bytes, i);
        check_string(reader, "long", text, 1);
    }
    for (unsigned i = 0; i < TAGS; i++) {
        const char tag[] = {'t', (char)('0' + i), '\0'};
        check_string(reader, "tag", tag, shape->points / TAGS);
    }
    check_string(reader, "tag", "t5", 0);
}

static void check_point(const struct point_row *row, unsigned number) {
    char text[ID_MAX + 1], payload[PAYLOAD_MAX];
    const struct point_id id = id_of(number, text);
    must(point_id_compare(&row->id, &id) == 0, "an id");
    must(row->payload_length == payload_of(number, payload) &&
             memcmp(row->payload, payload, row->payload_length) == 0,
         "a payload");
}

static void check_points(struct reader *reader) {
    struct point_page page;
    struct error error = {0};
    bool has_page =
        is_answered(reader_scroll(reader, NULL, shape->points + 1, NULL, &page, &error), &error);
    if (has_page)
        must(page.count == shape->points, "the number of points");
    for (unsigned i = 0; i < shape->points; i++) {
        char text[ID_MAX + 1];
        const struct point_id id = id_of(i, text);
        struct point_row row;
        if (has_page)
            check_point(&page.rows[i], i);
        if (is_answered(reader_point(reader, &id, &row, &error), &error))
            check_point(&row, i);
    }
}

static void check_search(struct reader *reader) {
    struct query_hits hits;
    struct error error = {0};
    float target[FIXTURE_DIMENSION];
    fixture_vector(77, 1, target, FIXTURE_DIMENSION);
    const struct query query = {.vector = &reader_config(reader)->vectors[0],
                                .values = target,
                                .limit = shape->points,
                                .exact = true};
    if (!is_answered(reader_query(reader, &query, &hits, &error), &error))
        return;
    must(hits.count == shape->points, "the hits");
    check_point(&hits.hits[0].row, 77);
}

static void check_indexes(struct reader *reader) {
    struct error error = {0};
    const struct payload_index_status *indexes;
    size_t count;
    if (!is_answered(reader_payload_indexes(reader, &indexes, &count, &error), &error))
        return;
    must(count == 3, "the indexes");
    for (size_t i = 0; i < count; i++)
        must(indexes[i].points == shape->points, "how much an index covers");
}

static void ask_all(struct fixture *fixture) {
    struct error error = {0};
    struct arena arena;
    struct reader *reader;
    struct collection *collection = NULL;
    has_reported = false;
    must(storage_open(&fixture->options, &fixture->storage, &error) == STATUS_OK, error.message);
    may_fail(storage_acquire_collection(fixture->storage, "bad", &collection, &error), &error);
    arena_init(&arena, FIXTURE_ARENA_MAX);
    const struct reader_options options = {.arena = &arena};
    may_fail(reader_begin(collection, &options, &reader, &error), &error);
    check_indexes(reader);
    check_points(reader);
    check_filters(reader);
    check_search(reader);
    reader_end(reader);
    arena_free(&arena);
    storage_release_collection(collection);
    if (has_reported)
        _exit(EXIT_REPORTED);
}

/* ---- Damage -----------------------------------------------------------------------------------
 */

struct results {
    unsigned tried, refused, reported, right, wrong;
};

static bool is_refused(const struct fixture *fixture) {
    char folder[128];
    struct error error = {0};
    snprintf(folder, sizeof(folder), "%s/collections/%016x", fixture->path, 1);
    enum status status =
        lmdb_check_folder(folder, collection_databases, COLLECTION_DBI_COUNT, &error);
    ck_assert(status == STATUS_OK || status == STATUS_CORRUPT);
    return status != STATUS_OK;
}

/* Asks a process for everything, and leaves the folder as it was. */
static int meet(struct fixture *fixture, const struct file files[FILES]) {
    char damaged[128];
    int result = run_child(fixture, ask_all);
    snprintf(damaged, sizeof(damaged), "%s/damaged", fixture->path);
    unlink(damaged);
    for (unsigned i = 0; i < FILES; i++)
        write_file(&files[i], files[i].bytes, files[i].length);
    return result;
}

static void put_byte(const struct file *file, size_t at, uint8_t byte) {
    int fd = open(file->path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* Opening begins with lmdb_check: what that refuses, a process meets now and then. */
static void try_bit(struct fixture *fixture, const struct file files[FILES],
                    const struct lmdb_spot *spot, size_t bit, struct results *results) {
    size_t at = spot->offset + bit / 8;
    put_byte(&files[0], at, files[0].bytes[at] ^ (uint8_t)(1U << bit % 8));
    bool refused = is_refused(fixture);
    int result = refused && draw(ONE_IN) > 0 ? EXIT_REPORTED : meet(fixture, files);
    put_byte(&files[0], at, files[0].bytes[at]);
    results->tried++;
    results->refused += refused;
    results->reported += !refused && result == EXIT_REPORTED;
    results->right += !refused && result == EXIT_SERVED;
    if (result == EXIT_REPORTED || (!refused && result == EXIT_SERVED))
        return;
    results->wrong++;
    fprintf(stderr, "bit %zu of part %d at %zu, %s, level %u: status %d\n", bit, (int)spot->part,
            spot->offset, spot->database, spot->level, result);
}

/* What is damaged, and how many bits of it: all, or so many drawn from them. */
static const struct area {
    const char *database;
    enum lmdb_part part;
    uint32_t bits_max[2]; /* by shape */
} areas[] = {
    {"points", LMDB_PART_KEY, {UINT32_MAX, 5000}},
    {"points", LMDB_PART_SEPARATOR, {UINT32_MAX, 5000}},
    {"points", LMDB_PART_NODE, {2000, 500}},
    {"points", LMDB_PART_TABLE, {300, 300}},
    {"postings", LMDB_PART_KEY, {UINT32_MAX, 10000}},
    {"postings", LMDB_PART_SEPARATOR, {UINT32_MAX, 5000}},
    {"postings", LMDB_PART_NODE, {2000, 500}},
    {"postings", LMDB_PART_TABLE, {300, 300}},
    {"meta", LMDB_PART_KEY, {UINT32_MAX, UINT32_MAX}},
    {"meta", LMDB_PART_NODE, {UINT32_MAX, 100}},
    {"meta", LMDB_PART_TABLE, {UINT32_MAX, 50}},
    {"rows", LMDB_PART_KEY, {300, 100}},
    {"rows", LMDB_PART_SEPARATOR, {UINT32_MAX, 100}},
    {"rows", LMDB_PART_NODE, {200, 100}},
    {"vectors", LMDB_PART_KEY, {50, 50}},
    {"vectors", LMDB_PART_NODE, {50, 50}},
    {"", LMDB_PART_KEY, {UINT32_MAX, 100}},
    {"", LMDB_PART_NODE, {UINT32_MAX, 100}},
    {"", LMDB_PART_TREE, {500, 100}},
};

static bool is_in(const struct lmdb_spot *spot, const struct area *area) {
    return spot->part == area->part && strcmp(spot->database, area->database) == 0;
}

static void damage_area(struct fixture *fixture, const struct file files[FILES],
                        const struct lmdb_spots *found, const struct area *area,
                        struct results *results) {
    uint64_t bits = 0, wanted = area->bits_max[shape - shapes];
    for (size_t i = 0; i < found->count; i++)
        bits += is_in(&found->spots[i], area) ? 8 * found->spots[i].length : 0;
    ck_assert_msg(bits > 0 || area->part == LMDB_PART_SEPARATOR, "%s, part %d", area->database,
                  (int)area->part);
    for (size_t i = 0; i < found->count; i++) {
        const struct lmdb_spot *spot = &found->spots[i];
        for (size_t bit = 0; is_in(spot, area) && bit < 8 * spot->length; bit++)
            if (wanted >= bits || draw(bits) < wanted)
                try_bit(fixture, files, spot, bit, results);
    }
}

static void check_levels(const struct lmdb_spots *found) {
    unsigned points = 0, postings = 0;
    for (size_t i = 0; i < found->count; i++) {
        const struct lmdb_spot *spot = &found->spots[i];
        if (strcmp(spot->database, "points") == 0 && spot->level + 1 > points)
            points = spot->level + 1;
        if (strcmp(spot->database, "postings") == 0 && spot->level + 1 > postings)
            postings = spot->level + 1;
    }
    ck_assert_uint_ge(points, shape->levels);
    ck_assert_uint_ge(postings, shape->levels);
}

/* _i: the shape. */
START_TEST(a_flipped_bit_in_what_leads_a_lookup_is_reported_or_changes_no_answer) {
    struct fixture fixture;
    struct file files[FILES];
    struct lmdb_spots found;
    struct results all = {0};
    shape = &shapes[_i];
    random_state = 88172645463325252ULL + (unsigned)_i;
    begin(&fixture, files);
    lmdb_pages_find(files[0].bytes, &found);
    check_levels(&found);
    ck_assert_int_eq(meet(&fixture, files), EXIT_SERVED);
    for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
        struct results results = {0};
        damage_area(&fixture, files, &found, &areas[i], &results);
        all.wrong += results.wrong;
        all.right += results.right;
        all.refused += results.refused;
    }
    ck_assert_uint_eq(all.wrong, 0);
    ck_assert_uint_gt(all.right, 0);
    ck_assert_uint_gt(all.refused, 0);
    ck_assert_int_eq(meet(&fixture, files), EXIT_SERVED);
    free(found.spots);
    end(&fixture, files);
}
END_TEST

/* ---- The catalogue ----------------------------------------------------------------------------
 */

static size_t collections;

static void list_all(struct fixture *fixture) {
    struct arena arena;
    struct error error = {0};
    const char *const *names;
    size_t count;
    may_fail(storage_open(&fixture->options, &fixture->storage, &error), &error);
    arena_init(&arena, 65536);
    must(storage_list_collections(fixture->storage, &arena, &names, &count, &error) == STATUS_OK,
         error.message);
    must(count == collections, "the collections");
    for (size_t i = 0; i < count; i++)
        must(names[i][0] == (char)('a' + i) && names[i][1] == '\0', "a name");
    arena_free(&arena);
}

static bool is_unchanged(const struct file *file) {
    struct file now = *file;
    read_file(&now);
    bool is_same = now.length == file->length && memcmp(now.bytes, file->bytes, now.length) == 0;
    free(now.bytes);
    return is_same;
}

/* Flips a bit of the file; true if the start is refused. */
static bool is_start_refused(struct fixture *fixture, struct file *file, size_t at, unsigned bit) {
    file->bytes[at] ^= (uint8_t)(1U << bit);
    write_file(file, file->bytes, file->length);
    int result = run_child(fixture, list_all);
    ck_assert_msg(result == EXIT_SERVED || result == EXIT_REPORTED, "bit %u at %zu: status %d", bit,
                  at, result);
    ck_assert_msg(result == EXIT_SERVED || is_unchanged(file), "bit %u at %zu: written", bit, at);
    file->bytes[at] ^= (uint8_t)(1U << bit);
    return result == EXIT_REPORTED;
}

/* _i: without collections, or with some. What is refused is left as it is, for whoever mends it. */
START_TEST(a_flipped_bit_in_a_key_of_the_catalogue_loses_no_collection) {
    struct fixture fixture;
    struct file file;
    struct lmdb_spots found;
    unsigned tried = 0, refused = 0;
    collections = _i == 0 ? 0 : COLLECTIONS;
    fixture_begin(&fixture);
    for (size_t i = 0; i < collections; i++)
        fixture_create(&fixture, (const char[]){(char)('a' + i), '\0'});
    fixture_close(&fixture);
    snprintf(file.path, sizeof(file.path), "%s/catalogue/data.mdb", fixture.path);
    read_file(&file);
    lmdb_pages_find(file.bytes, &found);
    for (size_t i = 0; i < found.count; i++) {
        const struct lmdb_spot *spot = &found.spots[i];
        for (size_t bit = 0; bit < 8 * spot->length; bit++, tried++)
            refused += is_start_refused(&fixture, &file, spot->offset + bit / 8, bit % 8);
    }
    ck_assert_uint_gt(refused, tried / 2);
    ck_assert_uint_lt(refused, tried);
    write_file(&file, file.bytes, file.length);
    ck_assert_int_eq(run_child(&fixture, list_all), EXIT_SERVED);
    free(found.spots);
    free(file.bytes);
    fixture_remove(fixture.path);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("damaged keys");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests,
                        a_flipped_bit_in_what_leads_a_lookup_is_reported_or_changes_no_answer, 0,
                        sizeof(shapes) / sizeof(shapes[0]));
    tcase_add_loop_test(tests, a_flipped_bit_in_a_key_of_the_catalogue_loses_no_collection, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
