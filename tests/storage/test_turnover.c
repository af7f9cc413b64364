/* Points that are all replaced, as fast as storage takes it: slots, and the memory of the index,
 * stay within a tenth of what fresh ones take. */
#include "storage/collection_internal.h"
#include "storage/process_memory.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <malloc.h>
#include <sys/prctl.h>

enum {
    DIMENSION = 128,
    CLUSTER = 100, /* points that lie near one another, one after the other by their numbers */
    BATCH = 100,
    WAITED_MS_MAX = 120000,
};

/* Under tsan, which takes twenty times as long, fewer. */
#ifdef __SANITIZE_THREAD__
enum {
    POINTS = 3000
};
#else
enum {
    POINTS = 16000
};
#endif

/* HEAP_BYTES: of heaps in pieces, whatever the size of the index. Sanitizers count memory of their
 * own, too, and repair so slowly that writes do not wait for it to the end. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static const uint64_t HEAP_BYTES = UINT64_MAX / 2;
static const uint32_t SLOTS_MAX = 2 * POINTS;
#else
static const uint64_t HEAP_BYTES = 1 << 20;
static const uint32_t SLOTS_MAX = POINTS * 11 / 10;
#endif

/* In which order points come: prime to POINTS, so that each comes once. */
enum {
    FIRST_STRIDE = 7919,
    SCATTERED_STRIDE = 3571,
    BY_CLUSTERS_STRIDE = 1,
};

static void upsert_all(struct collection *collection, uint64_t stride, uint64_t version) {
    struct error error = {0};
    for (uint64_t first = 0; first < POINTS; first += BATCH) {
        uint64_t numbers[BATCH];
        struct batch batch;
        for (uint64_t i = 0; i < BATCH; i++)
            numbers[i] = (first + i) * stride % POINTS;
        batch_make(&batch, numbers, BATCH, version, DIMENSION);
        for (uint64_t i = 0; i < BATCH; i++) {
            float center[DIMENSION];
            fixture_vector(numbers[i] / CLUSTER, 0, center, DIMENSION);
            for (size_t k = 0; k < DIMENSION; k++)
                batch.values[i * DIMENSION + k] += 2 * center[k];
        }
        ck_assert_msg(fixture_write(collection, &batch.operation, 1, &error) == STATUS_OK, "%s",
                      error.message);
        batch_free(&batch);
    }
}

/* Resident bytes once builders have done what there is to do, without what malloc keeps for later.
 */
static uint64_t settled_memory(struct collection *collection) {
    struct collection_status status = {.waiting_count = 1};
    for (int ms = 0; status.waiting_count > 0 || slot_pool_dead_count(&collection->pool) > 0;
         ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
        collection_status(collection, &status);
    }
    malloc_trim(0);
    return process_memory_used();
}

/* _i: 0 scattered, 1 cluster by cluster. */
START_TEST(replacing_all_points_takes_a_tenth_more_memory_at_most) {
    struct fixture fixture;
    /* Small pages, so that memory follows slots, and a malloc that gives back what it can. */
    ck_assert_int_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 16384);
    fixture_prepare(&fixture);
    fixture.options.dead_slots_spare = COLLECTION_REPAIR_LEAST; /* so that a tenth of few is seen */
    fixture_open(&fixture);
    ck_assert_int_eq(fixture_create_with(&fixture, "main", DISTANCE_EUCLID, DIMENSION), STATUS_OK);
    struct collection *collection = fixture_acquire(&fixture, "main");
    upsert_all(collection, FIRST_STRIDE, 1);
    uint64_t fresh = settled_memory(collection);
    struct vector_index_info info = collection_index_info(collection, 0);
    ck_assert_uint_eq(collection->state.next_slot, POINTS);
    for (uint64_t version = 2; version < 4; version++)
        upsert_all(collection, _i == 0 ? SCATTERED_STRIDE : BY_CLUSTERS_STRIDE, version);
    uint32_t slots = collection->state.next_slot;
    ck_assert_msg(slots <= SLOTS_MAX, "%u slots for %d points", slots, POINTS);
    uint64_t after = settled_memory(collection);
    ck_assert_msg(after <= fresh + info.memory_bytes / 10 + HEAP_BYTES,
                  "%.1f MB grew to %.1f, of which %.1f were the index's", (double)fresh / 1e6,
                  (double)after / 1e6, (double)info.memory_bytes / 1e6);
    ck_assert_uint_eq(fixture_count(collection), POINTS);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("turnover");
    TCase *tests = tcase_create("turnover");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, replacing_all_points_takes_a_tenth_more_memory_at_most, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
