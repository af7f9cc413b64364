/* Each allocation of a session fails once: the call says so, and works when it is repeated.
 *
 * The program's own malloc family and mmap stand before those of libc. Sanitizers bring their own,
 * so there the session runs without failures.
 */
#include "index/vector_index.h"

#include "tests/support/run_suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long allowed = -1; /* allocations until one fails; -1: none does */
static bool has_failed;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum {
    FAILURES = 0
};
#else
enum {
    FAILURES = 1
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool fails(void) {
    if (allowed < 0 || allowed-- > 0)
        return false;
    has_failed = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return fails() ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __libc_memalign(alignment, size);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fails())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
#endif

enum {
    ROWS = 1200,
    DIMENSION = 64,
};

static struct session {
    struct slots *slots;
    struct vector_index *index, *loaded;
    struct index_scratch *scratch;
    float rows[ROWS][DIMENSION];
    uint64_t words[ROWS / 64 + 1];
    int fds[INDEX_IMAGE_KINDS]; /* of the files that were saved; 0: none */
    struct error error;
} session;

static const struct vector_index_options options = {
    .profile = INDEX_PROFILE_TURBO, .dimension = DIMENSION, .distance = DISTANCE_EUCLID};

static const float *vector_of(void *context, uint32_t slot) {
    (void)context;
    return session.rows[slot];
}

static enum status make_slots(void) {
    return slots_create(&session.slots, &session.error);
}

static enum status reserve_slots(void) {
    return slots_reserve(session.slots, ROWS, &session.error);
}

static enum status make_index(void) {
    return vector_index_create(&options, session.slots, &session.index, &session.error);
}

static enum status reserve_index(void) {
    return vector_index_reserve(session.index, ROWS, &session.error);
}

static enum status make_scratch(void) {
    return index_scratch_create(&session.scratch, &session.error);
}

static enum status search(struct index_query query) {
    const struct vector_owner owner = {.vector = vector_of};
    struct index_answer answer;
    query.vector = session.rows[5];
    query.operation = 1;
    enum status status = vector_index_search(session.index, &query, &owner, session.scratch,
                                             &answer, &session.error);
    /* Not by ck_assert, which allocates. */
    if (status == STATUS_OK && (answer.count != query.k || answer.hits[0].distance > 0))
        return error_set(&session.error, STATUS_CORRUPT, "a wrong answer");
    return status;
}

static enum status put_and_search_what_waits(void) {
    for (uint32_t slot = 0; slot < ROWS && !vector_index_has(session.index, slot); slot++) {
        for (uint32_t i = 0; i < DIMENSION; i++)
            session.rows[slot][i] = (float)((slot * 2654435761u >> i % 7) % 1000 + i);
        vector_index_put(session.index, slot, session.rows[slot], slot);
        slots_born(session.slots, slot, 1);
    }
    return search((struct index_query){.k = 7});
}

static enum status link_all(void) {
    uint32_t linked = 1;
    enum status status = STATUS_OK;
    while (linked > 0 && status == STATUS_OK)
        status = vector_index_link(session.index, 1000, session.scratch, &linked, &session.error);
    while (status == STATUS_OK && vector_index_refresh(session.index, session.scratch))
        continue;
    return status;
}

static enum status search_graph(void) {
    return search((struct index_query){.k = 100, .ef = 200});
}

static enum status search_exactly(void) {
    return search((struct index_query){.k = ROWS, .exact = true});
}

/* More queries than there were before, so that lanes are added; each wants all rows. */
static enum status scan_together(void) {
    const struct vector_owner owner = {.vector = vector_of};
    struct index_query queries[5];
    struct index_answer answers[5];
    for (uint32_t i = 0; i < 5; i++)
        queries[i] = (struct index_query){.vector = session.rows[i], .k = ROWS, .operation = 1};
    enum status status = vector_index_scan(session.index, queries, 5, &owner, session.scratch,
                                           answers, &session.error);
    for (uint32_t i = 0; i < 5 && status == STATUS_OK; i++) {
        if (answers[i].count != ROWS || answers[i].hits[0].distance > 0)
            return error_set(&session.error, STATUS_CORRUPT, "a wrong answer");
    }
    return status;
}

static bool is_any(void *context, uint32_t slot) {
    (void)context;
    (void)slot;
    return true;
}

static enum status search_filtered(void) {
    struct slot_filter filter = {.words = session.words,
                                 .slot_end = ROWS,
                                 .count = ROWS,
                                 .estimate = ROWS,
                                 .matches = is_any};
    memset(session.words, 0xff, sizeof(session.words));
    return search((struct index_query){.k = 20, .filter = &filter});
}

static const struct index_stamp stamp = {.operation = 1, .incarnation = 2};

static enum status save_as(enum index_image kind) {
    if (session.fds[kind] > 0)
        close(session.fds[kind]);
    session.fds[kind] = memfd_create("image", MFD_CLOEXEC);
    return vector_index_save(session.index, session.fds[kind], kind, &stamp, &session.error);
}

static enum status save(void) {
    return save_as(INDEX_IMAGE_WHOLE);
}

static enum status save_delta(void) {
    return save_as(INDEX_IMAGE_DELTA);
}

static enum status load(void) {
    struct index_stamp read;
    int delta = session.fds[INDEX_IMAGE_DELTA];
    const struct index_files files = {.whole = session.fds[INDEX_IMAGE_WHOLE],
                                      .delta = delta > 0 ? delta : -1};
    vector_index_free(session.loaded);
    session.loaded = NULL;
    enum status status =
        vector_index_create(&options, session.slots, &session.loaded, &session.error);
    return status != STATUS_OK ? status
                               : vector_index_load(session.loaded, &files, &read, &session.error);
}

static enum status settle(void) {
    while (vector_index_settle(session.loaded)) {
    }
    return STATUS_OK;
}

static enum status search_loaded(void) {
    struct vector_index *index = session.index;
    session.index = session.loaded;
    enum status status = search_exactly();
    session.index = index;
    return status;
}

static enum status repair(void) {
    uint32_t dead[100];
    for (uint32_t i = 0; i < 100; i++) {
        dead[i] = 100 + i;
        if (slots_died_at(session.slots, dead[i]) == 0)
            slots_died(session.slots, dead[i], 2);
    }
    return vector_index_repair(session.index, dead, 100, session.scratch, &session.error);
}

static enum status check(void) {
    return vector_index_check(session.index, &session.error);
}

static enum status (*const steps[])(void) = {
    make_slots,     reserve_slots,
    make_index,     reserve_index,
    make_scratch,   put_and_search_what_waits,
    link_all,       search_graph,
    search_exactly, search_filtered,
    scan_together,  save,
    load,           settle,
    search_loaded,  repair,
    save_delta,     load,
    check,
};

/* True if an allocation failed on the way. */
static bool run_session(long failing) {
    memset(&session, 0, sizeof(session));
    has_failed = false;
    allowed = failing;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        bool had_failed = has_failed;
        enum status status = steps[i]();
        if (status != STATUS_OK) {
            allowed = -1;
            ck_assert_msg(status == STATUS_NO_MEMORY && has_failed && !had_failed,
                          "step %zu, allocation %ld: %s", i, failing, session.error.message);
            ck_assert_msg(steps[i]() == STATUS_OK, "step %zu again: %s", i, session.error.message);
        }
    }
    allowed = -1;
    index_scratch_free(session.scratch);
    vector_index_free(session.index);
    vector_index_free(session.loaded);
    slots_free(session.slots);
    close(session.fds[INDEX_IMAGE_WHOLE]);
    close(session.fds[INDEX_IMAGE_DELTA]);
    return has_failed;
}

START_TEST(each_failed_allocation_is_told_and_survived) {
    long failing = 0;
    while (FAILURES && run_session(failing))
        failing++;
    ck_assert(!run_session(-1));
    ck_assert(!FAILURES || failing > 20);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, each_failed_allocation_is_told_and_survived);
    suite_add_tcase(suite, tcase);
    return suite;
}
