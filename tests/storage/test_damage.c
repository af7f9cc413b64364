/* Damaged files: whatever happens to a data file, what is read is right or reported; the process
 * ends in order; the other collections serve. */
#include "storage/collection_internal.h"
#include "tests/storage/damage_child.h"
#include "tests/support/run_suite.h"

enum {
    POINTS = 900,
    DAMAGES = 160,
    CHANGED = 1, /* so few that a delta is worth while */
    FILES = 4,   /* that are damaged */
    ALIKE = 20,
    BUILT_US = 200000, /* many times what an index of so few points takes */
    PAGE = 4096,
};

/* Damages a copy of the file in one of several ways. */
static void damage(const struct file *file, unsigned kind) {
    uint8_t *bytes = malloc(file->length);
    size_t length = file->length, pages = length / PAGE;
    memcpy(bytes, file->bytes, length);
    uint8_t *page = bytes + draw(pages) * PAGE;
    switch (kind % 5) {
    case 0: /* one bit */
        bytes[draw(length)] ^= (uint8_t)(1 << draw(8));
        break;
    case 1:
        memset(page, 0, PAGE);
        break;
    case 2:
        for (size_t i = 0; i < PAGE; i++)
            page[i] = (uint8_t)draw(256);
        break;
    case 3:
        length = draw(length);
        break;
    default: /* one page in another's place */
        memcpy(page, file->bytes + draw(pages) * PAGE, PAGE);
        break;
    }
    write_file(file, bytes, length);
    free(bytes);
}

/* ---- The process that meets the damage --------------------------------------------------------
 */

static void check_rows(struct reader *reader, const struct point_page *page) {
    for (uint64_t i = 0; i < page->count; i++) {
        const struct point_row *row = &page->rows[i];
        char payload[BATCH_PAYLOAD_MAX];
        float expected[FIXTURE_DIMENSION];
        int n = snprintf(payload, sizeof(payload), "{\"n\":%llu,\"v\":1,\"even\":%s}",
                         (unsigned long long)i, i % 2 == 0 ? "true" : "false");
        must(row->id.number == i, "an id");
        must(row->payload_length == (size_t)n && memcmp(row->payload, payload, (size_t)n) == 0,
             "a payload");
        const float *values = reader_vector(reader, row, &reader_config(reader)->vectors[0]);
        fixture_vector(i, 1, expected, FIXTURE_DIMENSION);
        struct error error = {0};
        may_fail(reader_failure(reader, &error), &error);
        must(values != NULL, "a vector's presence");
        must(memcmp(values, expected, sizeof(expected)) == 0, "a vector");
    }
}

static void read_all(struct collection *collection) {
    struct arena arena;
    struct reader *reader;
    struct error error = {0};
    struct point_page page;
    struct query_hits hits;
    uint64_t count;
    arena_init(&arena, FIXTURE_ARENA_MAX);
    const struct reader_options options = {.arena = &arena};
    may_fail(reader_begin(collection, &options, &reader, &error), &error);
    may_fail(reader_scroll(reader, NULL, POINTS + 10, NULL, &page, &error), &error);
    must(page.count == POINTS, "the number of points");
    check_rows(reader, &page);
    may_fail(reader_count(reader, NULL, &count, &error), &error);
    must(count == POINTS, "the count");
    float target[FIXTURE_DIMENSION];
    fixture_vector(77, 1, target, FIXTURE_DIMENSION);
    const struct query query = {.vector = &reader_config(reader)->vectors[0],
                                .values = target,
                                .limit = POINTS,
                                .exact = true};
    may_fail(reader_query(reader, &query, &hits, &error), &error);
    must(hits.count == POINTS && hits.hits[0].row.id.number == 77, "a query");
    reader_end(reader);
    arena_free(&arena);
}

static void meet_damage(struct fixture *fixture) {
    struct error error = {0};
    struct collection *collection = NULL;
    must(storage_open(&fixture->options, &fixture->storage, &error) == STATUS_OK, error.message);
    must(storage_acquire_collection(fixture->storage, "good", &collection, &error) == STATUS_OK,
         error.message);
    must(fixture_count(collection) == 20, "the other collection");
    storage_release_collection(collection);
    may_fail(storage_acquire_collection(fixture->storage, "bad", &collection, &error), &error);
    read_all(collection);
    may_fail(fixture_upsert(collection, 100, 50, 1, &error), &error);
    read_all(collection);
    storage_release_collection(collection);
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void wait_until_linked(struct collection *collection) {
    struct collection_status status = {.waiting_count = 1};
    for (int ms = 0; status.waiting_count > 0; ms++) {
        ck_assert_int_lt(ms, 30000);
        usleep(1000);
        collection_status(collection, &status);
    }
}

static void begin(struct fixture *fixture) {
    struct error error = {0};
    fixture_begin(fixture);
    fixture_create(fixture, "bad");  /* number 1 */
    fixture_create(fixture, "good"); /* number 2 */
    struct collection *collection = fixture_acquire(fixture, "bad");
    for (uint64_t first = 0; first < POINTS; first += 100)
        ck_assert_int_eq(fixture_upsert(collection, first, 100, 1, &error), STATUS_OK);
    wait_until_linked(collection);
    storage_release_collection(collection);
    collection = fixture_acquire(fixture, "good");
    ck_assert_int_eq(fixture_upsert(collection, 0, 20, 1, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_close(fixture);
    /* What changes now goes into a delta beside the graph file. */
    fixture_open(fixture);
    collection = fixture_acquire(fixture, "bad");
    ck_assert_int_eq(fixture_remove_points(collection, 7, CHANGED, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(collection, 7, CHANGED, 1, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_close(fixture);
}

/* _i: which of the files; all but the first are caches. */
START_TEST(a_damaged_file_never_gives_a_wrong_answer) {
    static const char *const names[FILES] = {"data.mdb", "graph-0.bin", "graph-0.delta",
                                             "slots.bin"};
    struct fixture fixture;
    struct file files[FILES];
    char marks[512];
    unsigned reported = 0, served = 0;
    begin(&fixture);
    random_state = 88172645463325252ULL + (unsigned)_i;
    for (int i = 0; i < FILES; i++)
        read_file_of(&files[i], fixture.path, 1, names[i]);
    snprintf(marks, sizeof(marks), "%s/damaged", fixture.path);
    for (unsigned kind = 0; kind < DAMAGES; kind++) {
        damage(&files[_i], kind);
        int result = run_child(&fixture, meet_damage);
        ck_assert_msg(result == EXIT_SERVED || result == EXIT_REPORTED || result == EXIT_GUARDED,
                      "damage %u: status %d", kind, result);
        if (result == EXIT_GUARDED) /* the next start knows, and serves the others */
            ck_assert_int_eq(run_child(&fixture, meet_damage), EXIT_REPORTED);
        reported += result != EXIT_SERVED;
        served += result == EXIT_SERVED;
        unlink(marks);
        for (int i = 0; i < FILES; i++)
            write_file(&files[i], files[i].bytes, files[i].length);
    }
    ck_assert_int_eq(run_child(&fixture, meet_damage), EXIT_SERVED);
    if (_i == 0)
        ck_assert_uint_gt(reported, DAMAGES / 2);
    else
        ck_assert_uint_eq(served, DAMAGES);
    for (int i = 0; i < FILES; i++)
        free(files[i].bytes);
    fixture_remove(fixture.path);
}
END_TEST

START_TEST(an_older_copy_of_a_data_file_is_reported) {
    struct fixture fixture;
    struct file old;
    struct error error = {0};
    struct collection *collection = NULL;
    begin(&fixture);
    read_file_of(&old, fixture.path, 1, "data.mdb");
    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "bad");
    ck_assert_int_eq(fixture_upsert(collection, 0, 200, 2, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_close(&fixture);
    write_file(&old, old.bytes, old.length);
    fixture_open(&fixture);
    ck_assert_int_eq(storage_acquire_collection(fixture.storage, "bad", &collection, &error),
                     STATUS_CORRUPT);
    ck_assert_msg(strstr(error.message, "older") != NULL, "%s", error.message);
    free(old.bytes);
    fixture_end(&fixture);
}
END_TEST

/* An older copy is in use again once the graph file, which is newer, was taken away. slots.bin is
 * as of an operation that is going to come to pass another way. */
START_TEST(a_table_of_slots_that_is_newer_than_the_data_file_does_not_stay) {
    struct fixture fixture;
    struct file old, graph, slots;
    struct error error = {0};
    begin(&fixture);
    read_file_of(&old, fixture.path, 1, "data.mdb");
    fixture_open(&fixture);
    struct collection *collection = fixture_acquire(&fixture, "bad");
    ck_assert_int_eq(fixture_remove_points(collection, 0, 50, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_close(&fixture);
    read_file_of(&graph, fixture.path, 1, "graph-0.bin");
    read_file_of(&slots, fixture.path, 1, "slots.bin");
    write_file(&old, old.bytes, old.length);
    ck_assert_int_eq(unlink(graph.path), 0);
    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "bad");
    ck_assert_uint_eq(fixture_count(collection), POINTS);
    ck_assert_int_lt(access(slots.path, F_OK), 0); /* fewer changes than a builder would save */
    storage_release_collection(collection);
    fixture_end(&fixture);
    free(old.bytes);
    free(graph.bytes);
    free(slots.bytes);
}
END_TEST

START_TEST(a_file_of_another_collection_is_reported) {
    struct fixture fixture;
    struct file bad, good;
    struct error error = {0};
    struct collection *collection = NULL;
    begin(&fixture);
    read_file_of(&bad, fixture.path, 1, "data.mdb");
    read_file_of(&good, fixture.path, 2, "data.mdb");
    write_file(&bad, good.bytes, good.length);
    fixture_open(&fixture);
    ck_assert_int_eq(storage_acquire_collection(fixture.storage, "bad", &collection, &error),
                     STATUS_CORRUPT);
    bool existed;
    ck_assert_int_eq(fixture_delete(&fixture, "bad", &existed), STATUS_OK); /* it can be deleted */
    fixture_create(&fixture, "bad");
    storage_release_collection(fixture_acquire(&fixture, "bad"));
    free(bad.bytes);
    free(good.bytes);
    fixture_end(&fixture);
}
END_TEST

START_TEST(a_folder_of_a_newer_format_or_in_use_is_refused_with_one_line) {
    struct fixture fixture;
    struct error error = {0};
    struct storage *second;
    fixture_begin(&fixture);
    ck_assert_int_eq(storage_open(&fixture.options, &second, &error), STATUS_CONFLICT);
    ck_assert_ptr_nonnull(strstr(error.message, "in use"));
    fixture_close(&fixture);
    /* The format row of the catalogue begins with its checksum; the version follows. */
    struct file file = {0};
    snprintf(file.path, sizeof(file.path), "%s/catalogue/data.mdb", fixture.path);
    int fd = open(file.path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    static uint8_t bytes[1 << 20];
    ssize_t length = read(fd, bytes, sizeof(bytes));
    ck_assert_int_gt(length, 0);
    unsigned changed = 0;
    for (ssize_t i = 0; i + 30 < length; i++)
        if (memcmp(bytes + i, "format", 6) == 0) {
            bytes[i + 6 + 8] = 2;
            changed++;
        }
    ck_assert_uint_gt(changed, 0);
    ck_assert_int_eq(pwrite(fd, bytes, (size_t)length, 0), length);
    close(fd);
    ck_assert_int_eq(storage_open(&fixture.options, &second, &error), STATUS_INVALID);
    ck_assert_msg(strstr(error.message, "newer") != NULL, "%s", error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
    fixture_remove(fixture.path);
}
END_TEST

/* Points that are all alike, one of which lost its row while the collection was open. */
static struct collection *open_without_a_row(struct fixture *fixture) {
    struct batch batch;
    struct error error = {0};
    uint64_t numbers[ALIKE];
    MDB_txn *txn;
    fixture_begin(fixture);
    fixture_create(fixture, "bad");
    struct collection *collection = fixture_acquire(fixture, "bad");
    for (uint64_t i = 0; i < ALIKE; i++)
        numbers[i] = i;
    batch_make(&batch, numbers, ALIKE, 1, FIXTURE_DIMENSION);
    memset(batch.values, 0, ALIKE * FIXTURE_DIMENSION * sizeof(float));
    ck_assert_int_eq(fixture_write(collection, &batch.operation, 1, &error), STATUS_OK);
    batch_free(&batch);
    wait_until_linked(collection);
    ck_assert_int_eq(lmdb_env_write_begin(&collection->env, &txn, &error), STATUS_OK);
    const struct point_rows rows = {.txn = txn, .dbis = collection->env.dbis};
    ck_assert_int_eq(point_rows_remove_row(&rows, ALIKE - 1, &error), STATUS_OK);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    return collection;
}

/* A filter that no index serves and all points match. */
static void match_version(struct arena *arena, struct filter *filter) {
    static struct payload_scalar value;
    static struct condition condition;
    value = (struct payload_scalar){.type = PAYLOAD_NUMBER, .number = payload_number_from_u64(1)};
    condition = (struct condition){.kind = CONDITION_MATCH, .values = &value, .values_count = 1};
    ck_assert_int_eq(payload_path_parse("v", 1, arena, &condition.path, NULL), STATUS_OK);
    *filter = (struct filter){.must = {.items = &condition, .count = 1}};
}

START_TEST(a_live_slot_without_a_row_is_reported_by_all_who_look) {
    struct fixture fixture;
    struct read read;
    struct filter filter;
    struct point_page page;
    struct query_hits hits;
    uint64_t count;
    const float target[FIXTURE_DIMENSION] = {1};
    struct collection *collection = open_without_a_row(&fixture);
    read_begin(&read, collection);
    match_version(&read.arena, &filter);
    struct query query = {
        .vector = &reader_config(read.reader)->vectors[0], .values = target, .limit = 3};
    for (int exact = 0; exact <= 1; exact++) {
        query.exact = exact == 1;
        query.filter = NULL; /* which of those that are equally near come first is told by ids */
        ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_CORRUPT);
        query.filter = &filter;
        ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_CORRUPT);
    }
    ck_assert_int_eq(reader_count(read.reader, &filter, &count, &read.error), STATUS_CORRUPT);
    ck_assert_int_eq(reader_scroll(read.reader, NULL, ALIKE, &filter, &page, &read.error),
                     STATUS_CORRUPT);
    read_end(&read);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

START_TEST(a_live_slot_without_a_row_is_not_passed_over_by_writes) {
    struct fixture fixture;
    struct read read;
    struct filter filter;
    struct error error = {0};
    struct collection *collection = open_without_a_row(&fixture);
    const struct payload_index_status *indexes;
    size_t count;
    read_begin(&read, collection);
    match_version(&read.arena, &filter);
    const struct operation remove = {.kind = OPERATION_DELETE, .selector = {.filter = &filter}};
    struct operation create = {.kind = OPERATION_CREATE_INDEX};
    create.field.path = filter.must.items[0].path;
    create.field.type = PAYLOAD_INDEX_INTEGER;
    ck_assert_int_eq(fixture_write(collection, &remove, 1, &error), STATUS_CORRUPT);
    ck_assert_int_eq(fixture_remove_points(collection, 0, ALIKE, &error), STATUS_CORRUPT);
    ck_assert_uint_eq(fixture_count(collection), ALIKE);
    ck_assert_int_eq(fixture_write(collection, &create, 1, &error), STATUS_OK);
    read_end(&read);
    usleep(BUILT_US);
    read_begin(&read, collection);
    ck_assert_int_eq(reader_payload_indexes(read.reader, &indexes, &count, &error), STATUS_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert(!indexes[0].field.is_ready); /* it would lack a point */
    read_end(&read);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("damage");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 200);
    tcase_add_loop_test(tests, a_damaged_file_never_gives_a_wrong_answer, 0, FILES);
    tcase_add_test(tests, an_older_copy_of_a_data_file_is_reported);
    tcase_add_test(tests, a_table_of_slots_that_is_newer_than_the_data_file_does_not_stay);
    tcase_add_test(tests, a_file_of_another_collection_is_reported);
    tcase_add_test(tests, a_live_slot_without_a_row_is_reported_by_all_who_look);
    tcase_add_test(tests, a_live_slot_without_a_row_is_not_passed_over_by_writes);
    tcase_add_test(tests, a_folder_of_a_newer_format_or_in_use_is_refused_with_one_line);
    suite_add_tcase(suite, tests);
    return suite;
}
