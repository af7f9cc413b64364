/* Each allocation of a session fails once: no crash, a clean status, and the folder stays sound.
 *
 * The program brings its own malloc in front of glibc's. Sanitizers bring theirs, so with them this
 * suite is empty (it says so).
 */
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_OWN_MALLOC 0
#else
#define HAS_OWN_MALLOC 1
/* glibc's own entry points: what they give, free() takes. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
#define FIXTURE_CALLOC __libc_calloc
#endif

#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/wait.h>

#if HAS_OWN_MALLOC

enum {
    SAMPLES = 240,
    SESSION_POINTS = 300,
};

static atomic_long calls, fail_at; /* fail_at 0: none fails */

static bool fails(void) {
    long at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return at > 0 && atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1 == at;
}

void *malloc(size_t size) {
    if (!fails())
        return __libc_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *calloc(size_t count, size_t size) {
    if (!fails())
        return __libc_calloc(count, size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *memory, size_t size) {
    if (!fails())
        return __libc_realloc(memory, size);
    errno = ENOMEM;
    return NULL;
}

void *aligned_alloc(size_t alignment, size_t size) {
    if (!fails())
        return __libc_memalign(alignment, size);
    errno = ENOMEM;
    return NULL;
}

/* What a session was told. */
struct session {
    uint64_t acknowledged; /* points from 0 on */
    bool has_failed;       /* some step was refused */
};

static void step(struct session *session, enum status status, const char *what,
                 const struct error *error) {
    if (status == STATUS_OK)
        return;
    session->has_failed = true;
    if (status != STATUS_NO_MEMORY && status != STATUS_UNAVAILABLE && status != STATUS_IO &&
        status != STATUS_NOT_FOUND && status != STATUS_NO_SPACE) {
        fprintf(stderr, "%s: status %d, %s\n", what, (int)status, error->message);
        _exit(1);
    }
}

static void read_some(struct session *session, struct collection *collection) {
    struct arena arena;
    struct reader *reader = NULL;
    struct error error = {0};
    arena_init(&arena, 1 << 26);
    const struct reader_options options = {.arena = &arena};
    enum status status = reader_begin(collection, &options, &reader, &error);
    step(session, status, "reader_begin", &error);
    if (status == STATUS_OK) {
        float target[FIXTURE_DIMENSION] = {0};
        struct query_hits hits;
        struct point_page page;
        uint64_t count;
        const struct query query = {
            .vector = &reader_config(reader)->vectors[0], .values = target, .limit = 10};
        step(session, reader_query(reader, &query, &hits, &error), "query", &error);
        step(session, reader_scroll(reader, NULL, 50, NULL, &page, &error), "scroll", &error);
        step(session, reader_count(reader, NULL, &count, &error), "count", &error);
        reader_end(reader);
    }
    arena_free(&arena);
}

static void run_session(struct fixture *fixture, struct session *session) {
    struct error error = {0};
    struct collection *collection = NULL;
    enum status status = storage_open(&fixture->options, &fixture->storage, &error);
    step(session, status, "open", &error);
    if (status != STATUS_OK)
        return;
    step(session, fixture_create_with(fixture, "main", DISTANCE_EUCLID, FIXTURE_DIMENSION),
         "create", &error);
    status = storage_acquire_collection(fixture->storage, "main", &collection, &error);
    step(session, status, "acquire", &error);
    if (status == STATUS_OK) {
        for (uint64_t first = 0; first < SESSION_POINTS; first += 100) {
            status = fixture_upsert(collection, first, 100, 1, &error);
            step(session, status, "upsert", &error);
            if (status == STATUS_OK && session->acknowledged == first)
                session->acknowledged = first + 100;
        }
        read_some(session, collection);
        status = fixture_upsert(collection, 0, 100, 1, &error);
        step(session, status, "upsert again", &error);
        storage_release_collection(collection);
    }
    storage_close(fixture->storage, 1000);
}

static void fail_on_problem(void *context, const char *problem) {
    (void)context;
    fprintf(stderr, "verify: %s\n", problem);
    _exit(1);
}

/* With all memory at hand: the folder is sound and has what was acknowledged. */
static void check_session(struct fixture *fixture, const struct session *session) {
    struct error error = {0};
    fixture_open(fixture);
    if (session->acknowledged > 0) {
        struct collection *collection = fixture_acquire(fixture, "main");
        struct read read;
        read_begin(&read, collection);
        for (uint64_t id = 0; id < session->acknowledged; id++)
            fixture_expect_point(read.reader, id, 1);
        read_end(&read);
        storage_release_collection(collection);
    }
    if (storage_has_collection(fixture->storage, "main") &&
        storage_verify_collection(fixture->storage, "main", fail_on_problem, NULL, &error) !=
            STATUS_OK)
        _exit(1);
    fixture_close(fixture);
}

static long count_session(void) {
    struct fixture fixture;
    struct session session = {0};
    fixture_prepare(&fixture);
    atomic_store(&fail_at, INT32_MAX);
    run_session(&fixture, &session);
    atomic_store(&fail_at, 0);
    ck_assert(!session.has_failed);
    check_session(&fixture, &session);
    fixture_remove(fixture.path);
    return atomic_exchange(&calls, 0);
}

/* The n-th of SAMPLES allocations, spread over the session. */
START_TEST(a_failing_allocation_costs_its_request_and_nothing_else) {
    long total = count_session();
    for (long sample = _i; sample < SAMPLES; sample += 8) {
        long at = sample < 60 ? sample + 1 : 1 + sample * total / SAMPLES;
        struct fixture fixture;
        fixture_prepare(&fixture);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            struct session session = {0};
            log_configure(LOG_LEVEL_ERROR, false);
            if (!freopen("/dev/null", "w", stdout))
                _exit(1);
            atomic_store(&calls, 0);
            atomic_store(&fail_at, at);
            run_session(&fixture, &session);
            atomic_store(&fail_at, 0);
            check_session(&fixture, &session);
            _exit(0);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "allocation %ld of %ld: status %x", at, total, (unsigned)status);
        fixture_remove(fixture.path);
    }
}
END_TEST

#endif

Suite *test_suite(void) {
    Suite *suite = suite_create("allocations");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 120);
#if HAS_OWN_MALLOC
    tcase_add_loop_test(tests, a_failing_allocation_costs_its_request_and_nothing_else, 0, 8);
#else
    fprintf(stderr, "SKIPPED: a sanitizer has its own malloc\n");
#endif
    suite_add_tcase(suite, tests);
    return suite;
}
