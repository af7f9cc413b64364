/* A process is killed at each fault point, and each step is made to fail, while a known sequence of
 * changes runs; afterwards the folder holds exactly what was acknowledged, or that and the one step
 * that was under way.
 *
 * Needs a build with NIGH_FAULTS (MODE=fault). In others only the kill at a random time runs.
 */
#include "storage/fault.h"
#include "storage/payload_path.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum {
    IDS = 240,
    STEPS = 56,
    RANGE = 60,   /* ids of one upsert */
    REMOVED = 25, /* ids of one deletion */
};

/* What the killed process leaves behind. */
struct progress {
    atomic_uint begun, acknowledged; /* steps */
};

enum step_kind {
    STEP_UPSERT,
    STEP_REMOVE,
    STEP_CREATE_INDEX,
    STEP_DROP_INDEX,
    STEP_CREATE,
    STEP_DELETE,
};

static const enum step_kind kinds[] = {STEP_UPSERT, STEP_CREATE_INDEX, STEP_REMOVE,
                                       STEP_CREATE, STEP_UPSERT,       STEP_UPSERT,
                                       STEP_DELETE, STEP_DROP_INDEX};

/* The collections after a number of steps. */
struct state {
    uint64_t versions[IDS]; /* 0: no such point */
    bool has_other;
};

static enum step_kind kind_of(unsigned step) {
    return kinds[step % (sizeof(kinds) / sizeof(kinds[0]))];
}

static uint64_t first_of(unsigned step) {
    return (uint64_t)step * 53 % (IDS - RANGE);
}

static void apply_step(struct state *state, unsigned step) {
    uint64_t first = first_of(step);
    switch (kind_of(step)) {
    case STEP_UPSERT:
        for (uint64_t id = first; id < first + RANGE; id++)
            state->versions[id] = step + 1;
        break;
    case STEP_REMOVE:
        for (uint64_t id = first; id < first + REMOVED; id++)
            state->versions[id] = 0;
        break;
    case STEP_CREATE:
        state->has_other = true;
        break;
    case STEP_DELETE:
        state->has_other = false;
        break;
    default:
        break;
    }
}

static struct state state_after(unsigned steps) {
    struct state state = {0};
    for (unsigned step = 0; step < steps; step++)
        apply_step(&state, step);
    return state;
}

/* ---- Running the steps ------------------------------------------------------------------------
 */

static enum status change_index(struct collection *collection, enum operation_kind kind,
                                struct error *error) {
    struct arena arena;
    struct operation operation = {.kind = kind};
    arena_init(&arena, 65536);
    ck_assert_int_eq(payload_path_parse("v", 1, &arena, &operation.field.path, NULL), STATUS_OK);
    operation.field.type = PAYLOAD_INDEX_INTEGER;
    enum status status = fixture_write(collection, &operation, 1, error);
    arena_free(&arena);
    return status;
}

static enum status run_step(struct fixture *fixture, unsigned step) {
    struct error error = {0};
    bool existed;
    enum status status = STATUS_OK;
    struct collection *collection = NULL;
    if (kind_of(step) == STEP_CREATE)
        return fixture_create_with(fixture, "other", DISTANCE_DOT, 3);
    if (kind_of(step) == STEP_DELETE)
        return fixture_delete(fixture, "other", &existed);
    status = storage_acquire_collection(fixture->storage, "main", &collection, &error);
    if (status != STATUS_OK)
        return status;
    switch (kind_of(step)) {
    case STEP_UPSERT:
        status = fixture_upsert(collection, first_of(step), RANGE, step + 1, &error);
        break;
    case STEP_REMOVE:
        status = fixture_remove_points(collection, first_of(step), REMOVED, &error);
        break;
    case STEP_CREATE_INDEX:
        status = change_index(collection, OPERATION_CREATE_INDEX, &error);
        break;
    default:
        status = change_index(collection, OPERATION_DROP_INDEX, &error);
        break;
    }
    storage_release_collection(collection);
    return status;
}

/* ---- Checking ---------------------------------------------------------------------------------
 */

static bool has_state(struct collection *collection, const struct state *state) {
    struct read read;
    struct point_page page;
    size_t at = 0;
    bool is_same = true;
    read_begin(&read, collection);
    ck_assert_msg(reader_scroll(read.reader, NULL, IDS, NULL, &page, &read.error) == STATUS_OK,
                  "%s", read.error.message);
    for (uint64_t id = 0; id < IDS && is_same; id++) {
        char payload[BATCH_PAYLOAD_MAX];
        if (state->versions[id] == 0)
            continue;
        int n = snprintf(payload, sizeof(payload), "{\"n\":%llu,\"v\":%llu,\"even\":%s}",
                         (unsigned long long)id, (unsigned long long)state->versions[id],
                         id % 2 == 0 ? "true" : "false");
        is_same = at < page.count && page.rows[at].id.number == id &&
                  page.rows[at].payload_length == (size_t)n &&
                  memcmp(page.rows[at].payload, payload, (size_t)n) == 0;
        at++;
    }
    is_same = is_same && at == page.count;
    read_end(&read);
    return is_same;
}

/* Vectors, filters with and without index, and exact search agree with the state. */
static void check_reads(struct collection *collection, const struct state *state) {
    struct read read;
    struct payload_path path;
    uint64_t expected = 0, points = 0, count;
    read_begin(&read, collection);
    for (uint64_t id = 0; id < IDS; id++) {
        points += state->versions[id] > 0;
        expected += state->versions[id] > 20;
        if (state->versions[id] > 0)
            fixture_expect_point(read.reader, id, state->versions[id]);
    }
    ck_assert_int_eq(payload_path_parse("v", 1, &read.arena, &path, NULL), STATUS_OK);
    struct condition condition = {.kind = CONDITION_RANGE,
                                  .path = path,
                                  .range = {.has_gt = true, .gt = payload_number_from_u64(20)}};
    const struct filter filter = {.must = {.items = &condition, .count = 1}};
    ck_assert_int_eq(reader_count(read.reader, &filter, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, expected);
    ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, points);
    float target[FIXTURE_DIMENSION] = {0};
    const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                .values = target,
                                .limit = IDS,
                                .exact = true};
    struct query_hits hits;
    ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, points);
    read_end(&read);
}

static void check_folder(struct fixture *fixture, unsigned acknowledged, unsigned begun) {
    struct state done = state_after(acknowledged), under_way = state_after(begun);
    bool has_other = storage_has_collection(fixture->storage, "other");
    ck_assert(has_other == done.has_other || has_other == under_way.has_other);
    if (has_other)
        storage_release_collection(fixture_acquire(fixture, "other"));
    struct collection *collection = fixture_acquire(fixture, "main");
    bool is_done = has_state(collection, &done);
    ck_assert_msg(is_done || has_state(collection, &under_way),
                  "neither the state after %u steps nor after %u", acknowledged, begun);
    check_reads(collection, is_done ? &done : &under_way);
    storage_release_collection(collection);
}

/* ---- Killing ----------------------------------------------------------------------------------
 */

static void run_child(struct fixture *fixture, struct progress *progress, const char *fault) {
    fixture_open(fixture);
    fault_set(fault);
    for (unsigned step = 0; step < STEPS; step++) {
        atomic_store(&progress->begun, step + 1);
        if (run_step(fixture, step) != STATUS_OK)
            _exit(3);
        atomic_store(&progress->acknowledged, step + 1);
    }
    storage_close(fixture->storage, 10000);
    _exit(0);
}

static struct progress *share_progress(void) {
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(progress, MAP_FAILED);
    return progress;
}

static void begin_with_small_map(struct fixture *fixture) {
    fixture_prepare(fixture);
    fixture->options.map_bytes = 128 * 1024;
    fixture_open(fixture);
    fixture_create(fixture, "main");
    fixture_close(fixture);
}

static void check_after(struct fixture *fixture, const struct progress *progress) {
    unsigned acknowledged = atomic_load(&progress->acknowledged);
    unsigned begun = atomic_load(&progress->begun);
    fixture_open(fixture);
    check_folder(fixture, acknowledged, begun);
    fixture_reopen(fixture); /* with the graph file that closing wrote */
    check_folder(fixture, acknowledged, begun);
    fixture_end(fixture);
}

#ifdef NIGH_FAULTS

static const char *const points[] = {"group.commit",       "group.committed",    "group.published",
                                     "map.grow",           "map.grown",          "create.folder",
                                     "create.synced",      "create.committed",   "catalogue.commit",
                                     "delete.committed",   "delete.removed",     "field.create",
                                     "field.drop",         "field.build_step",   "field.drop_step",
                                     "checkpoint.written", "checkpoint.renamed", "group.doubted"};

enum {
    POINTS = sizeof(points) / sizeof(points[0]),
};

static const unsigned passes[] = {1, 2, 5, 23};

enum {
    PASSES = sizeof(passes) / sizeof(passes[0]),
};

START_TEST(a_kill_at_any_point_loses_nothing_that_was_acknowledged) {
    struct fixture fixture;
    char fault[64];
    struct progress *progress = share_progress();
    begin_with_small_map(&fixture);
    snprintf(fault, sizeof(fault), "%s:%u:kill", points[_i / PASSES], passes[_i % PASSES]);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        run_child(&fixture, progress, fault);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    ck_assert_msg(is_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "status %x",
                  (unsigned)status);
    if (passes[_i % PASSES] == 1)
        ck_assert_msg(is_killed, "%s is never passed", points[_i / PASSES]);
    check_after(&fixture, progress);
    munmap(progress, sizeof(*progress));
}
END_TEST

/* A failing step is an answer, not a loss: it has no effect, the next steps run. */
START_TEST(a_step_that_fails_has_no_effect_and_the_next_ones_run) {
    struct fixture fixture;
    struct state state = {0};
    char fault[64];
    unsigned failures = 0;
    fixture_prepare(&fixture);
    fixture.options.map_bytes = 128 * 1024;
    fixture_open(&fixture);
    fixture_create(&fixture, "main");
    snprintf(fault, sizeof(fault), "%s:%u:fail", points[_i / PASSES], passes[_i % PASSES]);
    fault_set(fault);
    for (unsigned step = 0; step < STEPS; step++) {
        enum status status = run_step(&fixture, step);
        failures += status != STATUS_OK;
        /* A creation that failed leaves nothing to delete, one deletion that failed leaves it. */
        if (status == STATUS_OK)
            apply_step(&state, step);
        else
            ck_assert_int_ne(status, STATUS_CORRUPT);
    }
    ck_assert_uint_le(failures, 2);
    fault_set(NULL);
    struct collection *collection = fixture_acquire(&fixture, "main");
    ck_assert(has_state(collection, &state));
    check_reads(collection, &state);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    ck_assert(storage_has_collection(fixture.storage, "other") == state.has_other);
    collection = fixture_acquire(&fixture, "main");
    ck_assert(has_state(collection, &state));
    check_reads(collection, &state);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

START_TEST(commits_that_keep_failing_make_the_collection_read_only_until_restart) {
    struct fixture fixture;
    struct error error = {0};
    char reason[256];
    struct collection_status description;
    fixture_begin(&fixture);
    fixture_create(&fixture, "main");
    fixture_create(&fixture, "other");
    struct collection *collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 0, 10, 1, &error), STATUS_OK);
    ck_assert(storage_is_ready(fixture.storage, reason));
    fault_set("group.commit:1:fail*");
    ck_assert_int_eq(fixture_upsert(collection, 10, 10, 1, &error), STATUS_IO);
    ck_assert_int_eq(fixture_upsert(collection, 20, 10, 1, &error), STATUS_IO);
    fault_set(NULL);
    ck_assert_int_eq(fixture_upsert(collection, 30, 10, 1, &error), STATUS_UNAVAILABLE);
    ck_assert(!storage_is_ready(fixture.storage, reason));
    ck_assert_ptr_nonnull(strstr(reason, "main"));
    collection_status(collection, &description);
    ck_assert(description.is_damaged);
    ck_assert_uint_eq(fixture_count(collection), 10); /* reads go on */
    struct collection *other = fixture_acquire(&fixture, "other");
    ck_assert_int_eq(fixture_upsert(other, 0, 10, 1, &error), STATUS_OK);
    storage_release_collection(other);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 10, 10, 1, &error), STATUS_OK);
    ck_assert_uint_eq(fixture_count(collection), 20);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

#endif

START_TEST(a_kill_at_any_time_loses_nothing_that_was_acknowledged) {
    struct fixture fixture;
    struct progress *progress = share_progress();
    begin_with_small_map(&fixture);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        run_child(&fixture, progress, NULL);
    const struct timespec pause = {.tv_nsec = 3000000L + _i * 4000000L};
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    check_after(&fixture, progress);
    munmap(progress, sizeof(*progress));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("crash");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
#ifdef NIGH_FAULTS
    tcase_add_loop_test(tests, a_kill_at_any_point_loses_nothing_that_was_acknowledged, 0,
                        POINTS * PASSES);
    tcase_add_loop_test(tests, a_step_that_fails_has_no_effect_and_the_next_ones_run, 0,
                        POINTS * PASSES);
    tcase_add_test(tests, commits_that_keep_failing_make_the_collection_read_only_until_restart);
#endif
    tcase_add_loop_test(tests, a_kill_at_any_time_loses_nothing_that_was_acknowledged, 0, 30);
    suite_add_tcase(suite, tests);
    return suite;
}
