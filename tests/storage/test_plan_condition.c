/* Many points with a known answer: where a plan is exact, and what it leaves to the payloads. */
#include "storage/plan_condition.h"

#include "tests/storage/plan_fixture.h"
#include "tests/support/run_suite.h"

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

START_TEST(plans_of_many_points_are_precise_where_the_index_is) {
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    const struct plan_source source = source_of(txn);
    for (int i = 0; i < COUNT_OF(many); i++) {
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

START_TEST(ids_are_found_through_the_callback) {
    struct filter_plan plan;
    make_many();
    MDB_txn *txn = posting_env_begin(&env, MDB_RDONLY);
    const struct plan_source source = source_of(txn);
    OK(filter_plan_create(filter_of("{'must':[{'has_id':[1,2,3,9999]}]}"), &source, &plan, &error));
    ck_assert(plan.is_exact);
    ck_assert_uint_eq(plan.count, 2);
    ck_assert(has(&plan, 100) && has(&plan, 300));
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
    Suite *suite = suite_create("plan_condition");
    TCase *tcase = tcase_create("plan_condition");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, plans_of_many_points_are_precise_where_the_index_is);
    tcase_add_test(tcase, a_range_that_costs_more_than_its_partner_is_left_to_the_payloads);
    tcase_add_test(tcase, long_lists_are_left_to_the_payloads_of_few_candidates);
    tcase_add_test(tcase, ids_are_found_through_the_callback);
    tcase_add_test(tcase, a_damaged_chunk_fails_the_plan_that_reads_it);
    tcase_add_test(tcase, an_error_of_the_callback_is_passed_on);
    suite_add_tcase(suite, tcase);
    return suite;
}
