#include "storage/filter_plan.h"

#include "index/slots.h"
#include "storage/postings.h"
#include "tests/storage/filter_model.h"
#include "tests/storage/filter_text.h"
#include "tests/support/posting_env.h"
#include "tests/support/run_suite.h"

#include <stdio.h>

static struct posting_env env;
static struct arena arena; /* of the test */
static struct arena lent;  /* of one request */
static struct error error;

static void setup(void) {
    posting_env_open(&env, (size_t)1 << 30);
    arena_init(&arena, (size_t)1 << 30);
    arena_init(&lent, (size_t)1 << 30);
}

static void teardown(void) {
    arena_free(&lent);
    arena_free(&arena);
    posting_env_close(&env);
}

#define OK(call) ck_assert_msg((call) == STATUS_OK, "%s", error.message)

static bool has(const struct filter_plan *plan, uint32_t slot) {
    return plan->words[slot / 64] >> slot % 64 & 1;
}

/* ---- Random filters on random payloads ------------------------------------------------------ */

enum {
    POINTS = 500,
    SPREAD = 401, /* slots lie this far apart: four chunks */
    FILTERS = 80,
    ROUNDS = 2,
};

static cJSON *trees[POINTS]; /* NULL: no such point */
static char *texts[POINTS];

static struct payload_index_field fields[8];
static size_t fields_count;

static uint32_t slot_of_point(int point) {
    return (uint32_t)point * SPREAD;
}

static bool has_vector(const void *context, const char *name) {
    ck_assert_str_eq(name, "v");
    return *(const int *)context % 2 == 0;
}

static enum status slot_of_id(void *context, const struct point_id *id, uint32_t *slot,
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
                                       .slot_of = slot_of_id,
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

/* ---- Many points, where plans must be exact ------------------------------------------------- */

enum {
    MANY = 150000
};

static void make_many(void) {
    static const struct {
        enum payload_index_type type;
        const char *path;
    } indexes[] = {{PAYLOAD_INDEX_INTEGER, "n"},      {PAYLOAD_INDEX_KEYWORD, "s"},
                   {PAYLOAD_INDEX_INTEGER, "unique"}, {PAYLOAD_INDEX_DATETIME, "d"},
                   {PAYLOAD_INDEX_BOOL, "flag"},      {PAYLOAD_INDEX_KEYWORD, "tags[].t"}};
    struct posting_batch batch;
    char payload[256];
    fields_count = sizeof(indexes) / sizeof(indexes[0]);
    for (size_t i = 0; i < fields_count; i++) {
        fields[i] = (struct payload_index_field){
            .number = (uint16_t)(i + 1), .type = indexes[i].type, .is_ready = true};
        OK(payload_path_parse(indexes[i].path, strlen(indexes[i].path), &arena, &fields[i].path,
                              &error));
    }
    posting_batch_init(&batch, &lent, env.dbi);
    for (uint32_t slot = 0; slot < MANY; slot++) {
        int length = snprintf(payload, sizeof(payload),
                              "{\"n\":%u,\"s\":\"v%u\",\"unique\":%u,\"d\":\"2024-01-01T%02u:%02u:"
                              "%02uZ\",\"flag\":%s,\"tags\":[{\"t\":\"x%u\"},{\"t\":\"y\"},{}]}",
                              slot % 1000, slot % 7, slot, slot / 3600 % 24, slot / 60 % 60,
                              slot % 60, slot % 3 ? "true" : "false", slot % 5);
        OK(payload_index_collect(&batch, fields, fields_count, slot, payload, (size_t)length, true,
                                 &error));
        OK(posting_batch_live(&batch, slot, true, &error));
    }
    MDB_txn *txn = posting_env_begin(&env, 0);
    OK(posting_batch_apply(&batch, txn, &error));
    posting_env_commit(txn);
    arena_free(&lent);
    arena_init(&lent, (size_t)1 << 30);
}

static struct plan_source source_of(MDB_txn *txn) {
    return (struct plan_source){.txn = txn,
                                .postings = env.dbi,
                                .fields = fields,
                                .fields_count = fields_count,
                                .slot_end = MANY,
                                .slot_of = slot_of_id,
                                .arena = &lent};
}

static bool any_slot(uint32_t slot) {
    return slot < MANY;
}
static bool no_slot(uint32_t slot) {
    (void)slot;
    return false;
}
static bool n_is_7(uint32_t slot) {
    return slot % 1000 == 7;
}
static bool n_below_500(uint32_t slot) {
    return slot % 1000 < 500;
}
static bool s_is_v3(uint32_t slot) {
    return slot % 7 == 3;
}
static bool s_is_not_v3(uint32_t slot) {
    return slot % 7 != 3;
}
static bool s_and_n(uint32_t slot) {
    return slot % 7 == 3 && slot % 1000 < 500;
}
static bool s_or_n(uint32_t slot) {
    return slot % 7 == 3 || slot % 1000 < 500;
}
static bool unique_middle(uint32_t slot) {
    return slot >= 65000 && slot < 70000;
}
static bool two_of_three(uint32_t slot) {
    return (slot % 7 == 3) + (slot % 1000 < 500) + (slot % 3 != 0) >= 2;
}
static bool first_hour(uint32_t slot) {
    return slot / 3600 % 24 == 0;
}
static bool fifth_second(uint32_t slot) {
    return slot % 86400 == 5;
}
static bool flag_is_set(uint32_t slot) {
    return slot % 3 != 0;
}
static bool x2(uint32_t slot) {
    return slot % 5 == 2;
}

static const struct {
    const char *filter;
    bool (*matches)(uint32_t slot);
    bool is_exact;
} many[] = {
    {"{}", any_slot, true},
    {"{'must':[{'key':'n','match':{'value':7}}]}", n_is_7, true},
    {"{'must':[{'key':'n','match':{'value':'7'}}]}", no_slot, true},
    {"{'must':[{'key':'n','range':{'lt':500}}]}", n_below_500, true},
    {"{'must':[{'key':'n','range':{'gt':-1,'lte':499}}]}", n_below_500, true},
    {"{'must':[{'key':'n','range':{'gt':6,'lte':7}}]}", n_is_7, true},
    {"{'must':[{'key':'n','range':{'gt':6.5,'lt':7.5}}]}", n_is_7, true},
    {"{'must':[{'key':'n','range':{'gte':7,'lte':7,'lt':8,'gt':6}}]}", n_is_7, true},
    {"{'must':[{'key':'n','range':{'gte':500,'lt':500}}]}", no_slot, true},
    {"{'must':[{'key':'n','range':{'gt':499,'lte':499}}]}", no_slot, true},
    {"{'must':[{'key':'s','range':{'lt':500}}]}", no_slot, true},
    {"{'must':[{'key':'s','match':{'value':'v3'}}]}", s_is_v3, true},
    {"{'must':[{'key':'s','match':{'except':['v3']}}]}", s_is_not_v3, true},
    {"{'must_not':[{'key':'s','match':{'value':'v3'}}]}", s_is_not_v3, true},
    {"{'must':[{'key':'s','match':{'value':'v3'}},{'key':'n','range':{'lt':500}}]}", s_and_n, true},
    {"{'should':[{'key':'s','match':{'value':'v3'}},{'key':'n','range':{'lt':500}}]}", s_or_n,
     true},
    {"{'must':[{'key':'unique','range':{'gte':65000,'lt':70000}}]}", unique_middle, true},
    {"{'must':[{'must_not':[{'key':'unique','range':{'lt':65000}}]},"
     "{'must_not':[{'key':'unique','range':{'gte':70000}}]}]}",
     unique_middle, true},
    {"{'must':[{'key':'d','range':{'gte':'2024-01-01','lt':'2024-01-01T01:00:00Z'}}]}", first_hour,
     true},
    /* Other texts may name the same second. */
    {"{'must':[{'key':'d','match':{'value':'2024-01-01T00:00:05Z'}}]}", fifth_second, false},
    {"{'must':[{'key':'d','match':{'value':'2024-01-01 00:00:05'}}]}", fifth_second, false},
    {"{'must':[{'key':'d','match':{'value':'tomorrow'}}]}", no_slot, true},
    {"{'must':[{'key':'d','match':{'except':['2024-01-01T00:00:05Z']}}]}", any_slot, false},
    {"{'must':[{'key':'d','match':{'except':['tomorrow']}}]}", any_slot, true},
    {"{'must':[{'key':'s','range':{'gte':'2024-01-01'}}]}", any_slot, false},
    {"{'must':[{'key':'n','range':{'gte':'2024-01-01'}}]}", no_slot, true},
    {"{'must':[{'key':'flag','match':{'value':true}}]}", flag_is_set, true},
    {"{'must':[{'key':'flag','match':{'value':1}}]}", no_slot, true},
    {"{'must':[{'key':'tags[].t','match':{'value':'x2'}}]}", x2, true},
    {"{'must':[{'key':'tags[].t','match':{'except':['x2']}}]}", any_slot, false},
    {"{'must':[{'key':'tags[].t','match':{'except':['z']}}]}", any_slot, true},
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'key':'t','match':{'value':'x2'}}]}}}]}",
     x2, false},
    /* One element without t is enough, whatever the others have. */
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'is_empty':{'key':'t'}}]}}}]}", any_slot,
     false},
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'key':'t','is_empty':false}]}}}]}",
     any_slot, false},
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'key':'t','is_null':false}]}}}]}",
     any_slot, false},
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'is_null':{'key':'t'}}]}}}]}", no_slot,
     true},
    {"{'must':[{'nested':{'key':'tags','filter':{'must_not':[{'key':'t','match':{'value':'y'}}]}}}]"
     "}",
     any_slot, false},
    {"{'must':[{'nested':{'key':'tags','filter':{'must':[{'has_id':[1]}]}}}]}", no_slot, true},
    {"{'min_should':{'min_count':2,'conditions':[{'key':'s','match':{'value':'v3'}},"
     "{'key':'n','range':{'lt':500}},{'key':'flag','match':{'value':true}}]}}",
     two_of_three, true},
    {"{'must':[{'is_empty':{'key':'n'}}]}", no_slot, true},
    {"{'must':[{'key':'n','is_empty':false}]}", any_slot, true},
    {"{'must':[{'is_null':{'key':'n'}}]}", no_slot, true},
    {"{'must':[{'key':'n','is_null':false}]}", any_slot, true},
    {"{'must':[{'key':'n','values_count':{'gte':1}}]}", any_slot, true},
    {"{'must':[{'key':'n','values_count':{'gte':2}}]}", any_slot, false},
    {"{'must':[{'key':'unindexed','match':{'value':1}}]}", any_slot, false},
    {"{'must':[{'key':'unindexed','match':{'value':1}},{'key':'s','match':{'value':'v3'}}]}",
     s_is_v3, false},
    {"{'must':[{'key':'unindexed','match':{'value':1}},{'key':'s','match':{'value':'none'}}]}",
     no_slot, true},
    {"{'must':[{'key':'s','match':{'value':'v3'}}],"
     "'must_not':[{'key':'unindexed','match':{'value':1}}]}",
     s_is_v3, false},
    {"{'should':[{'key':'s','match':{'value':'v3'}},{'key':'unindexed','match':{'value':1}}]}",
     any_slot, false},
    {"{'must':[{'has_vector':'v'}]}", any_slot, false},
    {"{'must_not':[{}]}", no_slot, true},
    {"{'must':[{'key':'n','match':{'any':[7,7,7]}}]}", n_is_7, true},
};

/* Single quotes read better in C than escaped double ones. */
static const struct filter *filter_of(const char *text) {
    char *copy = arena_text(&arena, text, strlen(text));
    for (char *at = copy; *at; at++) {
        if (*at == '\'')
            *at = '"';
    }
    return filter_text_parse(copy, &arena);
}

START_TEST(plans_of_many_points_are_precise_where_the_index_is) {
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    const struct plan_source source = source_of(txn);
    for (int i = 0; i < MODEL_COUNT_OF(many); i++) {
        struct filter_plan plan;
        uint32_t wrong = 0, count = 0;
        OK(filter_plan_create(filter_of(many[i].filter), &source, &plan, &error));
        for (uint32_t slot = 0; slot < MANY; slot++) {
            wrong += has(&plan, slot) != many[i].matches(slot);
            count += many[i].matches(slot);
        }
        ck_assert_msg(wrong == 0, "%s", many[i].filter);
        ck_assert_uint_eq(plan.count, count);
        ck_assert_uint_eq(plan.slot_end, MANY);
        ck_assert_msg(plan.is_exact == many[i].is_exact, "%s", many[i].filter);
        arena_free(&lent);
        arena_init(&lent, (size_t)1 << 30);
    }
    struct filter_plan plan;
    OK(filter_plan_create(NULL, &source, &plan, &error));
    ck_assert(plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY);
    mdb_txn_abort(txn);
}
END_TEST

START_TEST(a_range_that_costs_more_than_its_partner_is_left_to_the_payloads) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    /* 150 candidates against 100,000 keys */
    OK(filter_plan_create(filter_of("{'must':[{'key':'unique','range':{'gte':50000}},"
                                    "{'key':'n','match':{'value':7}}]}"),
                          &source, &plan, &error));
    ck_assert(!plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY / 1000);
    /* A caller that looks at 10 candidates does not wait for 100,000 keys either. */
    const struct filter *range = filter_of("{'must':[{'key':'unique','range':{'gte':50000}}]}");
    source.verifications = 10;
    OK(filter_plan_create(range, &source, &plan, &error));
    ck_assert(!plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY);
    source.verifications = 0;
    OK(filter_plan_create(range, &source, &plan, &error));
    ck_assert(plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY - 50000);
    mdb_txn_abort(txn);
}
END_TEST

/* A condition on the number n or unique that lists the numbers from first on. */
static struct condition list_of(const char *path, int64_t first, size_t count) {
    struct condition condition = {.kind = CONDITION_MATCH, .values_count = count};
    struct payload_scalar *values = arena_alloc(&arena, count * sizeof(*values));
    for (size_t i = 0; i < count; i++)
        values[i] = (struct payload_scalar){.type = PAYLOAD_NUMBER,
                                            .number = payload_number_from_i64(first + (int64_t)i)};
    OK(payload_path_parse(path, strlen(path), &arena, &condition.path, &error));
    condition.values = values;
    return condition;
}

static struct condition ids_of(uint64_t first, size_t count) {
    struct point_id *ids = arena_alloc(&arena, count * sizeof(*ids));
    for (size_t i = 0; i < count; i++)
        ids[i] = (struct point_id){.number = first + i};
    return (struct condition){.kind = CONDITION_HAS_ID, .ids = ids, .ids_count = count};
}

START_TEST(long_lists_are_left_to_the_payloads_of_few_candidates) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    struct condition items[] = {list_of("n", 7, 1), list_of("unique", 0, 60000), ids_of(0, 60000)};
    struct filter filter = {.must = {items, 3}};
    OK(filter_plan_create(&filter, &source, &plan, &error));
    ck_assert(!plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY / 1000);
    /* Alone the list is read, as there are more candidates than values. */
    filter.must = (struct condition_list){&items[1], 1};
    OK(filter_plan_create(&filter, &source, &plan, &error));
    ck_assert(plan.is_exact);
    ck_assert_uint_eq(plan.count, 60000);
    /* What is denied by a list that was not read is not denied for certain. */
    filter.must = (struct condition_list){&items[0], 1};
    filter.must_not = (struct condition_list){&items[1], 2};
    OK(filter_plan_create(&filter, &source, &plan, &error));
    ck_assert(!plan.is_exact);
    ck_assert_uint_eq(plan.count, MANY / 1000);
    mdb_txn_abort(txn);
}
END_TEST

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
    for (int i = 0; i < MODEL_COUNT_OF(cases); i++) {
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
    for (int i = 0; i < MODEL_COUNT_OF(ends); i++) {
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

START_TEST(ids_are_found_through_the_callback) {
    struct filter_plan plan;
    for (int i = 0; i < POINTS; i++)
        trees[i] = i % 2 ? (cJSON *)&error : NULL; /* only whether there is one matters here */
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    source.slot_end = POINTS * SPREAD;
    OK(filter_plan_create(filter_of("{'must':[{'has_id':[1,2,3,9999]}]}"), &source, &plan, &error));
    ck_assert(plan.is_exact);
    ck_assert_uint_eq(plan.count, 2);
    ck_assert(has(&plan, slot_of_point(1)) && has(&plan, slot_of_point(3)));
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

START_TEST(a_damaged_chunk_fails_the_plan_that_reads_it) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, 0);
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t bytes[POSTING_CHUNK_BYTES_MAX];
    ck_assert_int_eq(mdb_cursor_open(txn, env.dbi, &cursor), 0);
    for (int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); code == 0;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        const uint8_t *at = key.mv_data;
        if (at[1] != 2 || at[2] != POSTING_STRING || at[4] != '3')
            continue;
        memcpy(bytes, value.mv_data, value.mv_size);
        bytes[value.mv_size / 2] ^= 1;
        MDB_val changed = {value.mv_size, bytes};
        ck_assert_int_eq(mdb_cursor_put(cursor, &key, &changed, MDB_CURRENT), 0);
        break;
    }
    mdb_cursor_close(cursor);
    const struct plan_source source = source_of(txn);
    ck_assert_int_eq(filter_plan_create(filter_of("{'must':[{'key':'s','match':{'value':'v3'}}]}"),
                                        &source, &plan, &error),
                     STATUS_CORRUPT);
    OK(filter_plan_create(filter_of("{'must':[{'key':'s','match':{'value':'v4'}}]}"), &source,
                          &plan, &error));
    mdb_txn_abort(txn);
}
END_TEST

static enum status fail_to_find(void *context, const struct point_id *id, uint32_t *slot,
                                struct error *failure) {
    (void)context, (void)id, (void)slot;
    return error_set(failure, STATUS_IO, "no luck");
}

START_TEST(an_error_of_the_callback_is_passed_on) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    struct plan_source source = source_of(txn);
    source.slot_of = fail_to_find;
    ck_assert_int_eq(
        filter_plan_create(filter_of("{'must':[{'has_id':[1]}]}"), &source, &plan, &error),
        STATUS_IO);
    ck_assert_str_eq(error.message, "no luck");
    /* Not asked at all where nothing is left. */
    OK(filter_plan_create(filter_of("{'must':[{'key':'s','match':{'value':'none'}},"
                                    "{'has_id':[1]}]}"),
                          &source, &plan, &error));
    ck_assert_uint_eq(plan.count, 0);
    mdb_txn_abort(txn);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("filter_plan");
    TCase *tcase = tcase_create("filter_plan");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, with_or_without_indexes_the_answer_is_that_of_the_model, 0, 12);
    tcase_add_test(tcase, plans_of_many_points_are_precise_where_the_index_is);
    tcase_add_test(tcase, a_range_that_costs_more_than_its_partner_is_left_to_the_payloads);
    tcase_add_test(tcase, long_lists_are_left_to_the_payloads_of_few_candidates);
    tcase_add_test(tcase, memory_follows_the_depth_of_a_filter_not_its_length);
    tcase_add_test(tcase, slots_from_slot_end_on_are_not_in_a_plan);
    tcase_add_test(tcase, ids_are_found_through_the_callback);
    tcase_add_test(tcase, a_plan_ends_when_time_is_up_or_nobody_waits);
    tcase_add_test(tcase, a_full_arena_fails_a_plan_wherever_it_happens);
    tcase_add_test(tcase, a_damaged_chunk_fails_the_plan_that_reads_it);
    tcase_add_test(tcase, an_error_of_the_callback_is_passed_on);
    suite_add_tcase(suite, tcase);
    return suite;
}
