/* One writer, two builders, a repairer and searchers at once: run under ThreadSanitizer.
 *
 * Every answer must be right for the operation it was asked as of, whatever goes on meanwhile.
 */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SLOTS = 3000,
    DIMENSION = 64,
    ROUNDS = 12,
    CHANGES = 150, /* slots that die and are put again in a round */
    SEARCHERS = 2,
    SEARCHES_A_ROUND = 20, /* at least */
};

struct stage {
    struct fixture fixture;
    _Atomic uint64_t published;          /* the operation readers begin at */
    _Atomic uint64_t reading[SEARCHERS]; /* that a searcher reads as of; 0: none */
    _Atomic uint32_t searchers;
    atomic_bool is_over;
    bool is_settled; /* nothing is left of a start */
    _Atomic uint64_t searches;
};

/* Reads as of the published operation, and says so before anyone could think it past. */
static uint64_t begin_reading(struct stage *stage, uint32_t me) {
    uint64_t operation;
    do {
        operation = atomic_load(&stage->published);
        atomic_store(&stage->reading[me], operation);
    } while (atomic_load(&stage->published) != operation);
    return operation;
}

/* Waits until nobody reads as of an earlier operation: only then may what died be repaired. */
static void wait_for_readers(struct stage *stage, uint64_t operation) {
    for (uint32_t i = 0; i < SEARCHERS; i++) {
        for (;;) {
            uint64_t reading = atomic_load(&stage->reading[i]);
            if (reading == 0 || reading >= operation)
                break;
            usleep(50);
        }
    }
}

/* Rows never change here: a slot holds the row of its number through all its lives. */
static void *search(void *context) {
    struct stage *stage = context;
    struct fixture mine = stage->fixture; /* its own scratch */
    uint32_t me = atomic_fetch_add(&stage->searchers, 1);
    uint64_t state = me;
    ck_assert_int_eq(index_scratch_create(&mine.scratch, &mine.error), STATUS_OK);
    while (!atomic_load(&stage->is_over)) {
        uint32_t row = (uint32_t)(fixture_random(&state) * SLOTS);
        struct index_query query = {.vector = fixture_row(&mine, row),
                                    .k = 10,
                                    .ef = 48,
                                    .operation = begin_reading(stage, me),
                                    .exact = row % 8 == 0};
        struct index_answer answer = fixture_search(&mine, &query);
        ck_assert_uint_eq(answer.count, 10);
        for (size_t i = 0; i < answer.count; i++) {
            ck_assert(slots_visible(mine.slots, answer.hits[i].slot, query.operation));
            ck_assert(i == 0 || answer.hits[i - 1].distance <= answer.hits[i].distance);
            for (size_t j = 0; j < i; j++)
                ck_assert_uint_ne(answer.hits[i].slot, answer.hits[j].slot);
        }
        /* Never dies, so it must be there: the nearest of itself. */
        if (row % 20 == 0 && query.exact)
            ck_assert_float_eq(answer.hits[0].distance, 0);
        atomic_store(&stage->reading[me], 0);
        atomic_fetch_add(&stage->searches, 1);
    }
    index_scratch_free(mine.scratch);
    return NULL;
}

static void *build(void *context) {
    struct stage *stage = context;
    struct index_scratch *scratch;
    struct error error;
    uint32_t linked;
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    while (!atomic_load(&stage->is_over)) {
        ck_assert_int_eq(vector_index_link(stage->fixture.index, 8, scratch, &linked, &error),
                         STATUS_OK);
        if (linked == 0 && !vector_index_refresh(stage->fixture.index, scratch))
            usleep(500);
    }
    index_scratch_free(scratch);
    return NULL;
}

/* What is saved while builders are at work is a sound graph by itself. */
static void check_image(struct fixture *fixture) {
    struct vector_index *index;
    struct image_bytes image = image_file_save(fixture->index);
    ck_assert_int_eq(
        vector_index_create(&fixture->options, fixture->slots, &index, &fixture->error), STATUS_OK);
    ck_assert_msg(image_file_load(index, &image, &fixture->error) == STATUS_OK, "%s",
                  fixture->error.message);
    while (vector_index_settle(index)) {
    }
    ck_assert_msg(vector_index_check(index, &fixture->error) == STATUS_OK, "%s",
                  fixture->error.message);
    vector_index_free(index);
    free(image.data);
}

/* A piece of what a start left. */
static void *settle(void *context) {
    struct stage *stage = context;
    stage->is_settled = !vector_index_settle(stage->fixture.index);
    return NULL;
}

/* A round: slots die, are mended around, and live again once nobody can still look at them. */
static void change(struct stage *stage, uint64_t round, struct index_scratch *scratch) {
    struct fixture *fixture = &stage->fixture;
    uint32_t dead[CHANGES], count = 0;
    uint64_t operation = 2 + 2 * round;
    for (uint32_t i = 0; count < CHANGES; i++) {
        uint32_t slot = (uint32_t)(round * 37 + i * 13) % SLOTS;
        if (slot % 20 != 0 && slots_died_at(fixture->slots, slot) == 0)
            slots_died(fixture->slots, dead[count++] = slot, operation);
    }
    atomic_store(&stage->published, operation);
    wait_for_readers(stage, operation);
    ck_assert_int_eq(vector_index_repair(fixture->index, dead, count, scratch, &fixture->error),
                     STATUS_OK);
    uint64_t epoch = vector_index_epoch_advance(fixture->index);
    while (!vector_index_epoch_passed(fixture->index, epoch))
        usleep(100);
    if (round % 3 == 0 && stage->is_settled)
        check_image(fixture);
    pthread_t settler; /* puts, links and searches go on beside it, repairs and saves do not */
    ck_assert_int_eq(pthread_create(&settler, NULL, settle, stage), 0);
    for (uint32_t i = 0; i < count; i++)
        fixture_put_into(fixture, dead[i], dead[i], operation + 1);
    pthread_join(settler, NULL);
    atomic_store(&stage->published, operation + 1);
    if (stage->is_settled) /* else saving would read all that is left */
        check_image(fixture);
}

/* In place of the index comes one that starts from its image. */
static void restart(struct fixture *fixture) {
    struct vector_index *loaded;
    fixture_link(fixture, 1);
    struct image_bytes image = image_file_save(fixture->index);
    ck_assert_int_eq(image_file_load_fresh(fixture, &image, NULL, &loaded), STATUS_OK);
    vector_index_free(fixture->index);
    fixture->index = loaded;
    free(image.data);
}

START_TEST(answers_stay_right_while_all_work_at_once) {
    static struct stage stage;
    pthread_t searchers[SEARCHERS], builders[2];
    struct index_scratch *scratch;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_EUCLID,
                                                 .profile = _i == 0 ? INDEX_PROFILE_LEAN
                                                                    : INDEX_PROFILE_TURBO};
    bool is_restarted = _i == 2;
    fixture_create(&stage.fixture, &options, SLOTS);
    fixture_fill_clusters(&stage.fixture, 0, SLOTS, 8);
    for (uint32_t row = 1; row < SLOTS; row += 50) /* twins come and go as well */
        memcpy(fixture_row(&stage.fixture, row), fixture_row(&stage.fixture, 1),
               DIMENSION * sizeof(float));
    ck_assert_int_eq(index_scratch_create(&scratch, &stage.fixture.error), STATUS_OK);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        stage.fixture.row_of[slot] = slot;
    fixture_put(&stage.fixture, 0, SLOTS, 1);
    if (is_restarted)
        restart(&stage.fixture);
    atomic_store(&stage.published, 1);
    for (int i = 0; i < SEARCHERS; i++)
        ck_assert_int_eq(pthread_create(&searchers[i], NULL, search, &stage), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&builders[i], NULL, build, &stage), 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t before = atomic_load(&stage.searches);
        change(&stage, round, scratch);
        while (atomic_load(&stage.searches) < before + SEARCHES_A_ROUND)
            usleep(200);
    }
    ck_assert(stage.is_settled);
    atomic_store(&stage.is_over, true);
    for (int i = 0; i < SEARCHERS; i++)
        pthread_join(searchers[i], NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(builders[i], NULL);
    fixture_link(&stage.fixture, 1);
    ck_assert_msg(vector_index_check(stage.fixture.index, &stage.fixture.error) == STATUS_OK, "%s",
                  stage.fixture.error.message);
    struct index_query query = {.ef = 64, .operation = 1000};
    ck_assert(fixture_mean_recall(&stage.fixture, &query, 8, 50, 10) >= 0.97);
    index_scratch_free(scratch);
    fixture_free(&stage.fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("concurrency");
    TCase *tcase = tcase_create("concurrency");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, answers_stay_right_while_all_work_at_once, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
