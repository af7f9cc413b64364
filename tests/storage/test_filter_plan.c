/* Random filters on random payloads: what a plan proposes against what the model says. And what
 * plans cost at most. */
#include "storage/filter_plan.h"

#include "tests/storage/filter_meaning.h"
#include "tests/storage/plan_fixture.h"
#include "tests/support/run_suite.h"

/* ---- Random filters on random payloads ------------------------------------------------------ */

enum {
    POINTS = 500,
    SPREAD = 401, /* slots lie this far apart: four chunks */
    FILTERS = 80,
    ROUNDS = 2,
};

static cJSON *trees[POINTS]; /* NULL: no such point */
static char *texts[POINTS];

static uint32_t slot_of_point(int point) {
    return (uint32_t)point * SPREAD;
}

static bool has_vector(const void *context, const char *name) {
    ck_assert_str_eq(name, "v");
    return *(const int *)context % 2 == 0;
}

static enum status slot_of_tree(void *context, const struct point_id *id, uint32_t *slot,
                                struct error *unused) {
    (void)context, (void)unused;
    *slot = id->number < POINTS && trees[id->number] ? slot_of_point((int)id->number) : SLOT_NONE;
    return STATUS_OK;
}

/* An index that is not ready knows nothing of the points. */
static void change_point(struct posting_batch *batch, int point, bool add) {
    uint32_t slot = slot_of_point(point);
    for (size_t i = 0; i < fields_count; i++) {
        if (fields[i].is_ready)
            OK(payload_index_collect(batch, &fields[i], 1, slot, texts[point], strlen(texts[point]),
                                     add, &error));
    }
    OK(posting_batch_live(batch, slot, add, &error));
}

/* Gives each point a new payload, or none with one chance in ten. */
static void change_all(void) {
    struct posting_batch batch;
    posting_batch_init(&batch, &lent, env.dbi);
    for (int i = 0; i < POINTS; i++) {
        if (trees[i] && model_below(4)) /* most stay as they are */
            continue;
        if (trees[i])
            change_point(&batch, i, false);
        cJSON_Delete(trees[i]);
        cJSON_free(texts[i]);
        trees[i] = model_below(10) ? model_payload() : NULL;
        texts[i] = trees[i] ? cJSON_PrintUnformatted(trees[i]) : NULL;
        if (trees[i])
            change_point(&batch, i, true);
    }
    MDB_txn *txn = posting_env_begin(&env, 0);
    OK(posting_batch_apply(&batch, txn, &error));
    posting_env_commit(txn);
    arena_free(&lent);
    arena_init(&lent, (size_t)1 << 30);
}

static void make_fields(void) {
    fields_count = (size_t)model_below(9);
    for (size_t i = 0; i < fields_count; i++) {
        const char *path = model_any_path();
        fields[i] = (struct payload_index_field){
            .number = (uint16_t)(i + 1),
            .type = (enum payload_index_type)model_below(PAYLOAD_INDEX_TYPE_COUNT),
            .is_ready = model_below(8) != 0};
        OK(payload_path_parse(path, strlen(path), &arena, &fields[i].path, &error));
    }
}

static void check_filter(MDB_txn *txn, const struct model_filter *model) {
    const struct filter *filter = model_convert(model, &lent);
    const struct plan_source source = {.txn = txn,
                                       .postings = env.dbi,
                                       .fields = fields,
                                       .fields_count = fields_count,
                                       .slot_end = POINTS * SPREAD,
                                       .slot_of = slot_of_tree,
                                       .verifications = model_below(2) ? 0 : 3,
                                       .arena = &lent};
    struct filter_plan plan;
    OK(filter_plan_create(filter, &source, &plan, &error));
    uint32_t count = 0, wrong = 0, missed = 0, stray = 0;
    for (int i = 0; i < POINTS; i++) {
        bool is_planned = has(&plan, slot_of_point(i));
        count += is_planned;
        if (!trees[i]) {
            stray += is_planned;
            continue;
        }
        const struct point_id id = {.number = (uint64_t)i};
        const struct filter_subject subject = {.id = &id,
                                               .payload = texts[i],
                                               .payload_length = strlen(texts[i]),
                                               .has_vector = has_vector,
                                               .context = &i};
        bool expected = model_matches(model, trees[i], i);
        wrong += filter_matches(filter, &subject) != expected;
        missed += expected && !is_planned;
        stray += !expected && is_planned && plan.is_exact;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(missed, 0);
    ck_assert_uint_eq(stray, 0);
    ck_assert_uint_eq(count, plan.count); /* and no slot between the points */
}

START_TEST(with_or_without_indexes_the_answer_is_that_of_the_model) {
    srand((unsigned)_i);
    model_choose_favourites();
    make_fields();
    for (int round = 0; round < ROUNDS; round++) {
        change_all();
        MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
        for (int i = 0; i < FILTERS; i++) {
            check_filter(txn, model_random_filter(&lent, 2, POINTS + 5));
            arena_free(&lent);
            arena_init(&lent, (size_t)1 << 30);
        }
        mdb_txn_abort(txn);
    }
}
END_TEST

/* ---- Limits --------------------------------------------------------------------------------- */

START_TEST(memory_follows_the_depth_of_a_filter_not_its_length) {
    enum {
        COUNT = FILTER_CONDITIONS_MAX,
        SET_BYTES = 3 * 8192 + 256
    };
    struct filter_plan plan;
    struct condition *items = arena_alloc(&arena, COUNT * sizeof(*items));
    for (int i = 0; i < COUNT; i++)
        items[i] = list_of("n", i % 500, 2);
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    const struct {
        struct filter filter;
        size_t sets;
        uint32_t count;
    } cases[] = {
        {{.must = {items, COUNT}}, 3, 0},
        {{.should = {items, COUNT}}, 3, MANY / 1000 * 501},
        {{.must_not = {items, COUNT}}, 3, MANY / 1000 * 499},
        /* Each n from 1 to 499 is listed about 16 times, 0 and 500 half as often. */
        {{.min_should = {items, COUNT}, .min_count = 10, .has_min_should = true},
         16,
         MANY / 1000 * 499},
    };
    for (int i = 0; i < COUNT_OF(cases); i++) {
        struct arena small;
        arena_init(&small, cases[i].sets * SET_BYTES + 16384);
        source.arena = &small;
        OK(filter_plan_create(&cases[i].filter, &source, &plan, &error));
        ck_assert(plan.is_exact);
        ck_assert_uint_eq(plan.count, cases[i].count);
        arena_free(&small);
    }
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(slots_from_slot_end_on_are_not_in_a_plan) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    static const uint32_t ends[] = {0, 1, 64, 65535, 65536, 65537, MANY - 1};
    for (int i = 0; i < COUNT_OF(ends); i++) {
        source.slot_end = ends[i];
        OK(filter_plan_create(filter_of("{'must':[{'key':'flag','is_null':false}]}"), &source,
                              &plan, &error));
        ck_assert_uint_eq(plan.count, ends[i]);
        OK(filter_plan_create(NULL, &source, &plan, &error));
        ck_assert_uint_eq(plan.count, ends[i]);
    }
    mdb_txn_abort(txn);
}
END_TEST

/* ---- Failures ------------------------------------------------------------------------------- */

static const char everything[] =
    "{'must':[{'key':'n','range':{'lt':500}},{'key':'s','match':{'except':['v1']}}],"
    "'should':[{'key':'s','match':{'value':'v3'}},{'key':'unique','range':{'gte':1000}}],"
    "'must_not':[{'key':'n','match':{'value':7}}],"
    "'min_should':{'min_count':1,'conditions':[{'key':'flag','match':{'value':true}},"
    "{'nested':{'key':'tags','filter':{'must':[{'key':'t','match':{'value':'y'}}]}}}]}}";

START_TEST(a_plan_ends_when_time_is_up_or_nobody_waits) {
    struct filter_plan plan;
    atomic_bool cancelled = true;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    source.deadline_ns = 1;
    ck_assert_int_eq(filter_plan_create(filter_of(everything), &source, &plan, &error),
                     STATUS_TIMEOUT);
    source.deadline_ns = 0;
    source.cancelled = &cancelled;
    ck_assert_int_eq(filter_plan_create(filter_of(everything), &source, &plan, &error),
                     STATUS_CANCELLED);
    cancelled = false;
    OK(filter_plan_create(filter_of(everything), &source, &plan, &error));
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(a_full_arena_fails_a_plan_wherever_it_happens) {
    struct filter_plan plan;
    int failures = 0;
    enum status status = STATUS_NO_MEMORY;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    const struct filter *filter = filter_of(everything);
    struct plan_source source = source_of(txn);
    for (size_t limit = 64; status != STATUS_OK; limit += 8192) {
        struct arena small;
        arena_init(&small, limit);
        source.arena = &small;
        status = filter_plan_create(filter, &source, &plan, &error);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        failures += status != STATUS_OK;
        arena_free(&small);
    }
    ck_assert_int_gt(failures, 10);
    mdb_txn_abort(txn);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("filter_plan");
    TCase *tcase = tcase_create("filter_plan");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, with_or_without_indexes_the_answer_is_that_of_the_model, 0, 12);
    tcase_add_test(tcase, memory_follows_the_depth_of_a_filter_not_its_length);
    tcase_add_test(tcase, slots_from_slot_end_on_are_not_in_a_plan);
    tcase_add_test(tcase, a_plan_ends_when_time_is_up_or_nobody_waits);
    tcase_add_test(tcase, a_full_arena_fails_a_plan_wherever_it_happens);
    suite_add_tcase(suite, tcase);
    return suite;
}
