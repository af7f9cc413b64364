/* Readers, writers and builders at once: snapshots, reuse of slots, growth of the map, indexes that
 * are built on a live collection. Run under TSan as well (`make tsan`). */
#include "storage/collection_internal.h"
#include "storage/payload_path.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <time.h>

enum {
    SEARCHERS = 8,
    STILL_POINTS = 50,
    MOVING_ID = 1000,
    UPDATES = 2500,
    UPDATES_SECONDS = 20,
    GROWTH_POINTS = 12000,
    WRITERS = 4,
};

struct shared {
    struct fixture fixture;
    struct collection *collection;
    atomic_bool is_over;
    atomic_uint_fast64_t acknowledged; /* version of MOVING_ID, or number of points */
    atomic_uint_fast64_t answers;
};

static uint64_t payload_version(const struct point_row *row) {
    unsigned long long n, v;
    char text[BATCH_PAYLOAD_MAX] = {0};
    ck_assert_uint_lt(row->payload_length, sizeof(text));
    memcpy(text, row->payload, row->payload_length);
    ck_assert_int_eq(sscanf(text, "{\"n\":%llu,\"v\":%llu", &n, &v), 2);
    ck_assert_uint_eq(n, row->id.number);
    return v;
}

/* ---- One id that moves ------------------------------------------------------------------------
 */

static void check_answer(struct shared *shared, bool exact) {
    struct read read;
    uint64_t known = atomic_load(&shared->acknowledged);
    read_begin(&read, shared->collection);
    float target[FIXTURE_DIMENSION];
    fixture_vector(MOVING_ID, known, target, FIXTURE_DIMENSION);
    const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                .values = target,
                                .limit = STILL_POINTS * 2,
                                .exact = exact};
    struct query_hits hits;
    ck_assert_msg(reader_query(read.reader, &query, &hits, &read.error) == STATUS_OK, "%s",
                  read.error.message);
    unsigned found = 0;
    for (size_t i = 0; i < hits.count; i++) {
        const struct point_row *row = &hits.hits[i].row;
        uint64_t version = payload_version(row);
        float expected[FIXTURE_DIMENSION];
        const float *values =
            reader_vector(read.reader, row, &reader_config(read.reader)->vectors[0]);
        ck_assert_ptr_nonnull(values);
        fixture_vector(row->id.number, version, expected, FIXTURE_DIMENSION);
        ck_assert_mem_eq(values, expected, sizeof(expected));
        if (row->id.number != MOVING_ID)
            continue;
        found++;
        ck_assert_uint_ge(version, known);
    }
    ck_assert_uint_eq(found, 1);
    ck_assert_uint_eq(hits.count, STILL_POINTS + 1);
    read_end(&read);
    atomic_fetch_add(&shared->answers, 1);
}

static void *search_loop(void *argument) {
    struct shared *shared = argument;
    for (unsigned i = 0; !atomic_load(&shared->is_over); i++)
        check_answer(shared, i % 2 == 0);
    return NULL;
}

START_TEST(an_id_updated_in_a_loop_is_found_exactly_once_in_every_answer) {
    static struct shared shared;
    struct error error = {0};
    pthread_t threads[SEARCHERS];
    memset(&shared, 0, sizeof(shared));
    fixture_begin(&shared.fixture);
    fixture_create(&shared.fixture, "moving");
    shared.collection = fixture_acquire(&shared.fixture, "moving");
    ck_assert_int_eq(fixture_upsert(shared.collection, 0, STILL_POINTS, 1, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(shared.collection, MOVING_ID, 1, 1, &error), STATUS_OK);
    atomic_store(&shared.acknowledged, 1);
    for (int i = 0; i < SEARCHERS; i++)
        pthread_create(&threads[i], NULL, search_loop, &shared);
    uint64_t until = collection_now_ns() + UPDATES_SECONDS * 1000000000ULL, version = 2;
    for (; version < UPDATES && collection_now_ns() < until; version++) {
        ck_assert_msg(fixture_upsert(shared.collection, MOVING_ID, 1, version, &error) == STATUS_OK,
                      "%s", error.message);
        atomic_store(&shared.acknowledged, version);
    }
    atomic_store(&shared.is_over, true);
    for (int i = 0; i < SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(atomic_load(&shared.answers), 100);
    /* Without reuse there would be a slot an update. A busy machine does not get that far. */
    if (version == UPDATES)
        ck_assert_uint_lt(shared.collection->state.next_slot, UPDATES * 3 / 4);
    storage_release_collection(shared.collection);
    fixture_end(&shared.fixture);
}
END_TEST

/* ---- Growth of the map ------------------------------------------------------------------------
 */

static void *read_loop(void *argument) {
    struct shared *shared = argument;
    for (uint64_t i = 0; !atomic_load(&shared->is_over); i++) {
        struct read read;
        uint64_t known = atomic_load(&shared->acknowledged), count;
        read_begin(&read, shared->collection);
        ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
        ck_assert_uint_ge(count, known);
        for (uint64_t k = 0; k < 20 && known > 0; k++)
            fixture_expect_point(read.reader, (i * 7919 + k * 104729) % known, 1);
        read_end(&read);
        atomic_fetch_add(&shared->answers, 1);
    }
    return NULL;
}

START_TEST(the_map_grows_under_readers_and_none_of_them_fails) {
    static struct shared shared;
    struct error error = {0};
    pthread_t threads[SEARCHERS];
    memset(&shared, 0, sizeof(shared));
    fixture_prepare(&shared.fixture);
    shared.fixture.options.map_bytes = 256 * 1024;
    fixture_open(&shared.fixture);
    fixture_create(&shared.fixture, "growing");
    shared.collection = fixture_acquire(&shared.fixture, "growing");
    for (int i = 0; i < SEARCHERS; i++)
        pthread_create(&threads[i], NULL, read_loop, &shared);
    for (uint64_t first = 0; first < GROWTH_POINTS; first += 100) {
        ck_assert_msg(fixture_upsert(shared.collection, first, 100, 1, &error) == STATUS_OK, "%s",
                      error.message);
        atomic_store(&shared.acknowledged, first + 100);
    }
    atomic_store(&shared.is_over, true);
    for (int i = 0; i < SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_ge(shared.collection->env.map_bytes, 4 * 256 * 1024);
    ck_assert_uint_gt(atomic_load(&shared.answers), 10);
    storage_release_collection(shared.collection);
    fixture_reopen(&shared.fixture);
    shared.collection = fixture_acquire(&shared.fixture, "growing");
    ck_assert_uint_eq(fixture_count(shared.collection), GROWTH_POINTS);
    storage_release_collection(shared.collection);
    fixture_end(&shared.fixture);
}
END_TEST

/* ---- An index built on a live collection ------------------------------------------------------
 */

struct writer {
    struct shared *shared;
    uint64_t first;
};

static void *write_loop(void *argument) {
    struct writer *writer = argument;
    struct error error = {0};
    for (uint64_t version = 2; version < 42; version++) {
        ck_assert_int_eq(fixture_upsert(writer->shared->collection, writer->first + version * 10,
                                        100, version, &error),
                         STATUS_OK);
        if (version % 8 == 0)
            ck_assert_int_eq(
                fixture_remove_points(writer->shared->collection, writer->first, 200, &error),
                STATUS_OK);
    }
    return NULL;
}

/* Index and payloads must give the same answers whatever moment it is. */
static uint64_t count_both_ways(struct shared *shared, uint64_t low, bool *is_ready) {
    struct read read;
    struct payload_path path;
    uint64_t by_index, by_rows = 0;
    read_begin(&read, shared->collection);
    ck_assert_int_eq(payload_path_parse("v", 1, &read.arena, &path, NULL), STATUS_OK);
    struct condition condition = {.kind = CONDITION_RANGE,
                                  .path = path,
                                  .range = {.has_gte = true, .gte = payload_number_from_u64(low)}};
    const struct filter filter = {.must = {.items = &condition, .count = 1}};
    ck_assert_msg(reader_count(read.reader, &filter, &by_index, &read.error) == STATUS_OK, "%s",
                  read.error.message);
    struct point_page page;
    ck_assert_int_eq(reader_scroll(read.reader, NULL, SIZE_MAX - 1, NULL, &page, &read.error),
                     STATUS_OK);
    for (size_t i = 0; i < page.count; i++)
        by_rows += payload_version(&page.rows[i]) >= low;
    ck_assert_uint_eq(by_index, by_rows);
    const struct payload_index_status *indexes;
    size_t count;
    ck_assert_int_eq(reader_payload_indexes(read.reader, &indexes, &count, &read.error), STATUS_OK);
    *is_ready = count == 1 && indexes[0].field.is_ready;
    if (*is_ready)
        ck_assert_uint_eq(indexes[0].points, page.count);
    read_end(&read);
    return by_index;
}

START_TEST(an_index_built_on_a_live_collection_never_changes_an_answer) {
    static struct shared shared;
    struct error error = {0};
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    bool is_ready = false;
    memset(&shared, 0, sizeof(shared));
    fixture_begin(&shared.fixture);
    fixture_create(&shared.fixture, "live");
    shared.collection = fixture_acquire(&shared.fixture, "live");
    ck_assert_int_eq(fixture_upsert(shared.collection, 0, 8000, 1, &error), STATUS_OK);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.shared = &shared, .first = (uint64_t)i * 2000};
        pthread_create(&threads[i], NULL, write_loop, &writers[i]);
    }
    struct arena arena;
    arena_init(&arena, 65536);
    struct operation create = {.kind = OPERATION_CREATE_INDEX};
    ck_assert_int_eq(payload_path_parse("v", 1, &arena, &create.field.path, NULL), STATUS_OK);
    create.field.type = PAYLOAD_INDEX_INTEGER;
    ck_assert_int_eq(fixture_write(shared.collection, &create, 1, &error), STATUS_OK);
    for (int i = 0; i < 60; i++)
        count_both_ways(&shared, (uint64_t)i % 45, &is_ready);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 500 && !is_ready; i++) {
        count_both_ways(&shared, 20, &is_ready);
        usleep(10000);
    }
    ck_assert(is_ready);
    struct operation drop = create;
    drop.kind = OPERATION_DROP_INDEX;
    ck_assert_int_eq(fixture_write(shared.collection, &drop, 1, &error), STATUS_OK);
    count_both_ways(&shared, 20, &is_ready);
    ck_assert(!is_ready);
    arena_free(&arena);
    storage_release_collection(shared.collection);
    fixture_end(&shared.fixture);
}
END_TEST

/* ---- Many writers, each with points of its own ------------------------------------------------
 */

enum {
    OWN_IDS = 60,
    OWN_STEPS = 220,
    OWN_WRITERS = 8,
};

struct own_point {
    uint64_t payload, vector; /* versions; payload 0: no such point */
};

struct owner {
    struct shared *shared;
    uint64_t first, random, version;
    struct own_point points[OWN_IDS];
};

static uint64_t draw(struct owner *owner, uint64_t below) {
    owner->random ^= owner->random << 13;
    owner->random ^= owner->random >> 7;
    owner->random ^= owner->random << 17;
    return (owner->random >> 11) % below;
}

static enum status edit_to_context(const struct operation *operation, const char *payload,
                                   size_t length, struct arena *arena, const char **edited,
                                   size_t *edited_length, struct error *error) {
    (void)payload, (void)length, (void)error;
    const char *text = operation->edit_context;
    *edited = arena_text(arena, text, strlen(text));
    *edited_length = strlen(text);
    return STATUS_OK;
}

/* One operation on a few of the owner's points. Those that need the point to exist are sent also
 * for points that do not: they must be refused, alone in their group. */
static void own_step(struct owner *owner) {
    struct error error = {0};
    struct batch batch;
    uint64_t numbers[8];
    size_t count = 1 + draw(owner, 8), missing = 0;
    uint64_t start = draw(owner, OWN_IDS - 8);
    uint64_t version = ++owner->version;
    for (size_t i = 0; i < count; i++) {
        numbers[i] = owner->first + start + i;
        missing += owner->points[start + i].payload == 0;
    }
    batch_make(&batch, numbers, count, version, FIXTURE_DIMENSION);
    struct point_id ids[8];
    for (size_t i = 0; i < count; i++)
        ids[i] = batch.points[i].id;
    struct operation operation = batch.operation;
    uint64_t kind = draw(owner, 8);
    if (kind == 0) {
        operation = (struct operation){.kind = OPERATION_DELETE,
                                       .selector = {.ids = ids, .ids_count = count}};
    } else if (kind == 1) {
        operation.kind = OPERATION_UPDATE_VECTORS;
    } else if (kind == 2) {
        count = 1;
        missing = owner->points[start].payload == 0;
        operation = (struct operation){.kind = OPERATION_EDIT_PAYLOAD,
                                       .selector = {.ids = ids, .ids_count = 1},
                                       .edit = edit_to_context,
                                       .edit_context = batch.payloads};
    }
    enum status status = fixture_write(owner->shared->collection, &operation, 1, &error);
    bool is_refused = (kind == 1 || kind == 2) && missing > 0;
    ck_assert_msg(status == (is_refused ? STATUS_NOT_FOUND : STATUS_OK), "%s", error.message);
    for (size_t i = 0; i < count && !is_refused; i++) {
        struct own_point *point = &owner->points[start + i];
        point->payload = kind == 0 ? 0 : kind == 1 ? point->payload : version;
        point->vector = kind == 0 ? 0 : kind == 2 ? point->vector : version;
    }
    batch_free(&batch);
}

static void check_own(struct owner *owner) {
    struct read read;
    read_begin(&read, owner->shared->collection);
    for (uint64_t i = 0; i < OWN_IDS; i++) {
        struct point_row row;
        struct point_id id = fixture_id(owner->first + i);
        enum status status = reader_point(read.reader, &id, &row, &read.error);
        const struct own_point *point = &owner->points[i];
        ck_assert_int_eq(status, point->payload == 0 ? STATUS_NOT_FOUND : STATUS_OK);
        if (status != STATUS_OK)
            continue;
        float expected[FIXTURE_DIMENSION];
        ck_assert_uint_eq(payload_version(&row), point->payload);
        fixture_vector(id.number, point->vector, expected, FIXTURE_DIMENSION);
        const float *values =
            reader_vector(read.reader, &row, &reader_config(read.reader)->vectors[0]);
        ck_assert_ptr_nonnull(values);
        ck_assert_mem_eq(values, expected, sizeof(expected));
    }
    read_end(&read);
}

static void *own_loop(void *argument) {
    struct owner *owner = argument;
    for (unsigned i = 0; i < OWN_STEPS; i++) {
        own_step(owner);
        if (i % 4 == 0)
            check_own(owner);
    }
    return NULL;
}

START_TEST(each_of_many_writers_finds_what_it_wrote) {
    static struct shared shared;
    static struct owner owners[OWN_WRITERS];
    pthread_t threads[OWN_WRITERS];
    memset(&shared, 0, sizeof(shared));
    memset(owners, 0, sizeof(owners));
    fixture_prepare(&shared.fixture);
    shared.fixture.options.map_bytes = 256 * 1024;
    fixture_open(&shared.fixture);
    fixture_create(&shared.fixture, "owned");
    shared.collection = fixture_acquire(&shared.fixture, "owned");
    for (unsigned i = 0; i < OWN_WRITERS; i++) {
        owners[i] = (struct owner){
            .shared = &shared, .first = (uint64_t)i * 1000, .random = 99991 + 7 * (uint64_t)i};
        pthread_create(&threads[i], NULL, own_loop, &owners[i]);
    }
    for (unsigned i = 0; i < OWN_WRITERS; i++)
        pthread_join(threads[i], NULL);
    storage_release_collection(shared.collection);
    fixture_reopen(&shared.fixture);
    shared.collection = fixture_acquire(&shared.fixture, "owned");
    for (unsigned i = 0; i < OWN_WRITERS; i++)
        check_own(&owners[i]);
    storage_release_collection(shared.collection);
    fixture_end(&shared.fixture);
}
END_TEST

/* ---- Creating and deleting while others read and write ----------------------------------------
 */

static void *use_loop(void *argument) {
    struct shared *shared = argument;
    while (!atomic_load(&shared->is_over)) {
        struct collection *collection = NULL;
        struct error error = {0};
        enum status status =
            storage_acquire_collection(shared->fixture.storage, "coming", &collection, &error);
        ck_assert(status == STATUS_OK || status == STATUS_NOT_FOUND);
        if (status != STATUS_OK)
            continue;
        status = fixture_upsert(collection, 1, 3, 1, &error);
        ck_assert_msg(status == STATUS_OK || status == STATUS_NOT_FOUND, "%s", error.message);
        if (status == STATUS_OK)
            ck_assert_uint_eq(fixture_count(collection), 3);
        storage_release_collection(collection);
        atomic_fetch_add(&shared->answers, 1);
    }
    return NULL;
}

START_TEST(a_collection_can_be_deleted_and_made_again_while_it_is_used) {
    static struct shared shared;
    pthread_t threads[WRITERS];
    bool existed;
    memset(&shared, 0, sizeof(shared));
    fixture_begin(&shared.fixture);
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, use_loop, &shared);
    for (int i = 0; i < 40; i++) {
        fixture_create(&shared.fixture, "coming");
        usleep(10000);
        ck_assert_int_eq(fixture_delete(&shared.fixture, "coming", &existed), STATUS_OK);
        ck_assert(existed);
    }
    atomic_store(&shared.is_over, true);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(atomic_load(&shared.answers), 10);
    fixture_end(&shared.fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("readers and writers");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, an_id_updated_in_a_loop_is_found_exactly_once_in_every_answer);
    tcase_add_test(tests, the_map_grows_under_readers_and_none_of_them_fails);
    tcase_add_test(tests, an_index_built_on_a_live_collection_never_changes_an_answer);
    tcase_add_test(tests, each_of_many_writers_finds_what_it_wrote);
    tcase_add_test(tests, a_collection_can_be_deleted_and_made_again_while_it_is_used);
    suite_add_tcase(suite, tests);
    return suite;
}
