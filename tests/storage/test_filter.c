#include "storage/filter.h"

#include "tests/storage/filter_text.h"
#include "tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct arena arena;

static void setup(void) {
    arena_init(&arena, 64 << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

static bool has_vector(const void *context, const char *name) {
    return strcmp(context, name) == 0;
}

/* The point 7 with the vector "image". */
static bool matches(const struct filter *filter, const char *payload) {
    const struct point_id id = {.kind = POINT_ID_NUMBER, .number = 7};
    const struct filter_subject subject = {.id = &id,
                                           .payload = payload,
                                           .payload_length = strlen(payload),
                                           .has_vector = has_vector,
                                           .context = "image"};
    return filter_matches(filter, &subject);
}

#define ARRAY_OF_OBJECTS "{\"a\":[{\"x\":1,\"y\":1},{\"x\":2,\"y\":2}]}"

static const struct {
    const char *condition, *payload;
    bool holds;
} conditions[] = {
    /* match: value */
    {"{'key':'a','match':{'value':'x'}}", "{'a':'x'}", true},
    {"{'key':'a','match':{'value':'x'}}", "{'a':'X'}", false},
    {"{'key':'a','match':{'value':'x'}}", "{'a':['y','x']}", true},
    {"{'key':'a','match':{'value':'x'}}", "{'a':[['x']]}", false},
    {"{'key':'a','match':{'value':'x'}}", "{'b':'x'}", false},
    {"{'key':'a','match':{'value':'x'}}", "{'a':null}", false},
    {"{'key':'a','match':{'value':'x'}}", "{'a':'y','a':'x'}", true},
    {"{'key':'a','match':{'value':'x'}}", "{'a':'x','a':'y'}", false},
    {"{'key':'a','match':{'value':'x'}}", "{'a':'\\u0078'}", true},
    {"{'key':'a','match':{'value':5}}", "{'a':5}", true},
    {"{'key':'a','match':{'value':5}}", "{'a':5.0}", false},
    {"{'key':'a','match':{'value':5}}", "{'a':'5'}", false},
    {"{'key':'a','match':{'value':1}}", "{'a':true}", false},
    {"{'key':'a','match':{'value':true}}", "{'a':true}", true},
    {"{'key':'a','match':{'value':true}}", "{'a':[false,true]}", true},
    {"{'key':'a','match':{'value':true}}", "{'a':1}", false},
    {"{'key':'a','match':{'value':false}}", "{'a':null}", false},
    {"{'key':'a','match':{'value':'#9007199254740993'}}", "{'a':9007199254740993}", true},
    {"{'key':'a','match':{'value':'#9007199254740993'}}", "{'a':9007199254740992}", false},
    {"{'key':'a','match':{'value':'#9223372036854775807'}}", "{'a':9223372036854775808}", false},
    {"{'key':'a.b','match':{'value':1}}", "{'a':{'b':1}}", true},
    {"{'key':'a.b','match':{'value':1}}", "{'a':[{'b':1}]}", false},
    {"{'key':'a[].b','match':{'value':1}}", "{'a':[{'b':0},{'b':1}]}", true},
    {"{'key':'a[].b','match':{'value':1}}", "{'a':[{'b':[0,1]}]}", true},
    {"{'key':'a[1]','match':{'value':1}}", "{'a':[0,1]}", true},
    {"{'key':'a[0]','match':{'value':1}}", "{'a':[0,1]}", false},
    {"{'key':'a[]','match':{'value':1}}", "{'a':[0,1]}", true},
    {"{'key':'a[]','match':{'value':1}}", "{'a':1}", false},
    /* match: any */
    {"{'key':'a','match':{'any':['x','y']}}", "{'a':'y'}", true},
    {"{'key':'a','match':{'any':['x','y']}}", "{'a':['z']}", false},
    {"{'key':'a','match':{'any':[1,2]}}", "{'a':[3,2]}", true},
    {"{'key':'a','match':{'any':[]}}", "{'a':'x'}", false},
    {"{'key':'a','match':{'any':[]}}", "{}", false},
    /* match: except */
    {"{'key':'a','match':{'except':['x']}}", "{'a':'y'}", true},
    {"{'key':'a','match':{'except':['x']}}", "{'a':'x'}", false},
    {"{'key':'a','match':{'except':['x']}}", "{'a':['x','y']}", true},
    {"{'key':'a','match':{'except':['x']}}", "{'a':['x','x']}", false},
    {"{'key':'a','match':{'except':['x']}}", "{'a':5}", true},
    {"{'key':'a','match':{'except':['x']}}", "{'a':{'x':1}}", true},
    {"{'key':'a','match':{'except':['x']}}", "{'a':null}", false},
    {"{'key':'a','match':{'except':['x']}}", "{'a':[null]}", false},
    {"{'key':'a','match':{'except':['x']}}", "{'a':[]}", false},
    {"{'key':'a','match':{'except':['x']}}", "{}", false},
    {"{'key':'a','match':{'except':[]}}", "{'a':'x'}", true},
    {"{'key':'a','match':{'except':[]}}", "{'a':null}", false},
    {"{'key':'a','match':{'except':[]}}", "{}", false},
    {"{'key':'a','match':{'except':[5]}}", "{'a':5.0}", true},
    /* range of numbers */
    {"{'key':'a','range':{'gte':1,'lt':3}}", "{'a':1}", true},
    {"{'key':'a','range':{'gte':1,'lt':3}}", "{'a':2.999}", true},
    {"{'key':'a','range':{'gte':1,'lt':3}}", "{'a':3}", false},
    {"{'key':'a','range':{'gte':1,'lt':3}}", "{'a':0}", false},
    {"{'key':'a','range':{'gt':1}}", "{'a':1.0}", false},
    {"{'key':'a','range':{'gt':1}}", "{'a':1.0000000000000002}", true},
    {"{'key':'a','range':{'lte':1}}", "{'a':1}", true},
    {"{'key':'a','range':{'lte':1}}", "{'a':'1'}", false},
    {"{'key':'a','range':{'lte':1}}", "{'a':true}", false},
    {"{'key':'a','range':{'lte':1}}", "{'a':null}", false},
    {"{'key':'a','range':{'lte':1}}", "{'a':[5,0]}", true},
    {"{'key':'a','range':{'gt':1,'lt':9}}", "{'a':[0,10]}", false},
    {"{'key':'a','range':{}}", "{'a':0}", true},
    {"{'key':'a','range':{}}", "{'a':'x'}", false},
    {"{'key':'a','range':{'gt':'#9007199254740992'}}", "{'a':9007199254740993}", true},
    {"{'key':'a','range':{'lte':'#9007199254740992'}}", "{'a':9007199254740993}", false},
    {"{'key':'a','range':{'gte':'#18446744073709551615'}}", "{'a':18446744073709551614}", false},
    {"{'key':'a','range':{'gte':'#18446744073709551615'}}", "{'a':18446744073709551615}", true},
    {"{'key':'a','range':{'gte':0,'lte':0}}", "{'a':-0.0}", true},
    {"{'key':'a','range':{'lt':5,'gt':5}}", "{'a':5}", false},
    /* range of dates */
    {"{'key':'a','range':{'gte':'2024-01-01'}}", "{'a':'2024-01-01T00:00:00Z'}", true},
    {"{'key':'a','range':{'gt':'2024-01-01'}}", "{'a':'2024-01-01 00:00:00'}", false},
    {"{'key':'a','range':{'lt':'2024-01-01T00:00:00Z'}}", "{'a':'2024-01-01T00:30:00+01:00'}",
     true},
    {"{'key':'a','range':{'lt':'2024-01-01'}}", "{'a':['2025-01-01','2023-01-01']}", true},
    {"{'key':'a','range':{'lt':'2024-01-01'}}", "{'a':'yesterday'}", false},
    {"{'key':'a','range':{'lt':'2024-01-01'}}", "{'a':0}", false},
    /* values_count */
    {"{'key':'a','values_count':{'gte':1}}", "{'a':1}", true},
    {"{'key':'a','values_count':{'gte':1}}", "{'a':null}", false},
    {"{'key':'a','values_count':{'gte':1}}", "{'a':[]}", false},
    {"{'key':'a','values_count':{'gte':1}}", "{}", false},
    {"{'key':'a','values_count':{'lt':1}}", "{}", true},
    {"{'key':'a','values_count':{'lt':1}}", "{'a':null}", true},
    {"{'key':'a','values_count':{'lt':1}}", "{'a':[]}", true},
    {"{'key':'a','values_count':{'gte':2,'lte':2}}", "{'a':[1,null]}", true},
    {"{'key':'a','values_count':{'gte':2}}", "{'a':{'x':1,'y':2}}", false},
    {"{'key':'a[].b','values_count':{'gt':1}}", "{'a':[{'b':1},{'b':2}]}", false},
    {"{'key':'a[].b','values_count':{'gt':1}}", "{'a':[{'b':1},{'b':[1,2]}]}", true},
    {"{'key':'a[].b','values_count':{'gt':1,'lt':3}}", "{'a':[{'b':[]},{'b':[1,2,3]}]}", false},
    /* is_empty */
    {"{'is_empty':{'key':'a'}}", "{}", true},
    {"{'is_empty':{'key':'a'}}", "{'a':null}", true},
    {"{'is_empty':{'key':'a'}}", "{'a':[]}", true},
    {"{'is_empty':{'key':'a'}}", "{'a':[ ]}", true},
    {"{'is_empty':{'key':'a'}}", "{'a':[null]}", false},
    {"{'is_empty':{'key':'a'}}", "{'a':''}", false},
    {"{'is_empty':{'key':'a'}}", "{'a':{}}", false},
    {"{'is_empty':{'key':'a'}}", "{'a':0}", false},
    {"{'is_empty':{'key':'a[].b'}}", "{'a':[{'b':null},{'b':[]},{}]}", true},
    {"{'is_empty':{'key':'a[].b'}}", "{'a':[{'b':null},{'b':1}]}", false},
    {"{'key':'a','is_empty':true}", "{}", true},
    {"{'key':'a','is_empty':false}", "{}", false},
    {"{'key':'a','is_empty':false}", "{'a':1}", true},
    /* is_null */
    {"{'is_null':{'key':'a'}}", "{'a':null}", true},
    {"{'is_null':{'key':'a'}}", "{}", false},
    {"{'is_null':{'key':'a'}}", "{'a':[]}", false},
    {"{'is_null':{'key':'a'}}", "{'a':[1,null]}", true},
    {"{'is_null':{'key':'a'}}", "{'a':[[null]]}", false},
    {"{'is_null':{'key':'a[].b'}}", "{'a':[{'b':1},{'b':null}]}", true},
    {"{'key':'a','is_null':false}", "{}", true},
    {"{'key':'a','is_null':false}", "{'a':null}", false},
    {"{'key':'a','is_null':false}", "{'a':1}", true},
    /* has_id, has_vector */
    {"{'has_id':[9,7,1]}", "{}", true},
    {"{'has_id':[8]}", "{}", false},
    {"{'has_id':[]}", "{}", false},
    {"{'has_id':['7','936da01f9abd4d9d80c702af85c822a8']}", "{}", false},
    {"{'has_vector':'image'}", "{}", true},
    {"{'has_vector':'text'}", "{}", false},
    /* nested */
    {"{'nested':{'key':'a','filter':{'must':[{'key':'x','match':{'value':1}},"
     "{'key':'y','match':{'value':1}}]}}}",
     ARRAY_OF_OBJECTS, true},
    {"{'nested':{'key':'a[]','filter':{'must':[{'key':'x','match':{'value':1}},"
     "{'key':'y','match':{'value':1}}]}}}",
     ARRAY_OF_OBJECTS, true},
    {"{'nested':{'key':'a','filter':{'must':[{'key':'x','match':{'value':1}},"
     "{'key':'y','match':{'value':2}}]}}}",
     ARRAY_OF_OBJECTS, false},
    {"{'nested':{'key':'a','filter':{'must_not':[{'key':'x','match':{'value':1}}]}}}",
     ARRAY_OF_OBJECTS, true},
    {"{'nested':{'key':'a','filter':{'must_not':[{'key':'x','range':{'gt':0}}]}}}",
     ARRAY_OF_OBJECTS, false},
    {"{'nested':{'key':'a','filter':{}}}", ARRAY_OF_OBJECTS, true},
    {"{'nested':{'key':'a','filter':{}}}", "{'a':[]}", false},
    {"{'nested':{'key':'a','filter':{}}}", "{'a':[1,'x']}", false},
    {"{'nested':{'key':'a','filter':{}}}", "{'a':{'x':1}}", false},
    {"{'nested':{'key':'a','filter':{}}}", "{}", false},
    {"{'nested':{'key':'a','filter':{'must':[{'has_id':[7]}]}}}", ARRAY_OF_OBJECTS, false},
    {"{'nested':{'key':'a','filter':{'must':[{'has_vector':'image'}]}}}", ARRAY_OF_OBJECTS, false},
    {"{'nested':{'key':'a','filter':{'must_not':[{'has_id':[7]}]}}}", ARRAY_OF_OBJECTS, true},
    {"{'nested':{'key':'a','filter':{'must':[{'nested':{'key':'b','filter':"
     "{'must':[{'key':'c','match':{'value':1}}]}}}]}}}",
     "{'a':[{'b':[{'c':0},{'c':1}]}]}", true},
    {"{'nested':{'key':'a[].b','filter':{'must':[{'key':'c','match':{'value':1}}]}}}",
     "{'a':[{'b':[{'c':0},{'c':1}]}]}", true},
    /* clauses */
    {"{'must':[]}", "{}", true},
    {"{'should':[]}", "{}", true},
    {"{'must_not':[]}", "{}", true},
    {"{'must':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}}]}", "{'a':1,'b':2}",
     true},
    {"{'must':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}}]}", "{'a':1}",
     false},
    {"{'should':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}}]}", "{'b':2}",
     true},
    {"{'should':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}}]}", "{'b':1}",
     false},
    {"{'must_not':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}}]}", "{'b':2}",
     false},
    {"{'must':[{'key':'a','match':{'value':1}}],'must_not':[{'key':'b','match':{'value':2}}]}",
     "{'a':1,'b':3}", true},
    {"{'min_should':{'conditions':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}},"
     "{'key':'c','match':{'value':3}}],'min_count':2}}",
     "{'a':1,'c':3}", true},
    {"{'min_should':{'conditions':[{'key':'a','match':{'value':1}},{'key':'b','match':{'value':2}},"
     "{'key':'c','match':{'value':3}}],'min_count':2}}",
     "{'a':1,'c':4}", false},
    {"{'min_should':{'conditions':[{'key':'a','match':{'value':1}}],'min_count':2}}", "{'a':1}",
     false},
    {"{'min_should':{'conditions':[],'min_count':1}}", "{'a':1}", false},
};

/* Single quotes read better in C than escaped double ones. */
static char *quoted(const char *text) {
    char *copy = arena_text(&arena, text, strlen(text));
    for (char *at = copy; *at; at++) {
        if (*at == '\'')
            *at = '"';
    }
    return copy;
}

START_TEST(each_condition_means_what_the_contract_says) {
    char text[1024];
    snprintf(text, sizeof(text), "{\"must\":[%s]}", quoted(conditions[_i].condition));
    const struct filter *filter = filter_text_parse(text, &arena);
    ck_assert_msg(matches(filter, quoted(conditions[_i].payload)) == conditions[_i].holds,
                  "%s on %s", conditions[_i].condition, conditions[_i].payload);
    /* The same, denied. */
    snprintf(text, sizeof(text), "{\"must_not\":[%s]}", quoted(conditions[_i].condition));
    filter = filter_text_parse(text, &arena);
    ck_assert(matches(filter, quoted(conditions[_i].payload)) != conditions[_i].holds);
}
END_TEST

START_TEST(a_long_list_is_searched_the_same_when_it_is_sorted) {
    enum {
        COUNT = 600
    };
    struct payload_scalar *values = arena_alloc(&arena, COUNT * sizeof(*values));
    char payload[64];
    for (int i = 0; i < COUNT; i++) {
        char *string = arena_alloc(&arena, 16);
        values[i] = (struct payload_scalar){.type = PAYLOAD_STRING, .string = string};
        values[i].string_length = (size_t)snprintf(string, 16, "v%d", i * 7919 % COUNT * 2);
        if (i % 3 == 0)
            values[i] = (struct payload_scalar){.type = PAYLOAD_NUMBER,
                                                .number = payload_number_from_i64(i - COUNT / 2)};
    }
    struct condition condition = {.kind = CONDITION_MATCH, .values_count = COUNT};
    struct error error;
    ck_assert_int_eq(payload_path_parse("a", 1, &arena, &condition.path, &error), STATUS_OK);
    struct filter filter = {.must = {&condition, 1}};
    struct payload_scalar *sorted = arena_alloc(&arena, COUNT * sizeof(*sorted));
    memcpy(sorted, values, COUNT * sizeof(*sorted));
    filter_sort_values(sorted, COUNT);
    int wrong = 0, found = 0;
    for (int i = -10; i < 2 * COUNT + 10; i++) {
        for (int form = 0; form < 3; form++) {
            static const char *const forms[] = {"{\"a\":\"v%d\"}", "{\"a\":%d}", "{\"a\":%d.0}"};
            snprintf(payload, sizeof(payload), forms[form], form ? i - COUNT / 2 : i);
            condition.values = values;
            condition.values_sorted = false;
            bool expected = matches(&filter, payload);
            condition.values = sorted;
            condition.values_sorted = true;
            wrong += matches(&filter, payload) != expected;
            found += expected;
        }
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_eq(found, COUNT);
}
END_TEST

START_TEST(filters_nest_up_to_their_limit) {
    struct filter filters[FILTER_DEPTH_MAX];
    struct condition links[FILTER_DEPTH_MAX];
    memset(filters, 0, sizeof(filters));
    memset(links, 0, sizeof(links));
    for (int i = 0; i + 1 < FILTER_DEPTH_MAX; i++) {
        links[i] = (struct condition){.kind = CONDITION_FILTER, .filter = &filters[i + 1]};
        if (i % 2)
            filters[i].must = (struct condition_list){&links[i], 1};
        else
            filters[i].must_not = (struct condition_list){&links[i], 1};
    }
    /* The innermost is empty and holds; 16 of the 31 above deny. */
    ck_assert(matches(&filters[0], "{}"));
    ck_assert(!matches(&filters[1], "{}"));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("filter");
    TCase *tcase = tcase_create("filter");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, each_condition_means_what_the_contract_says, 0,
                        (int)COUNT_OF(conditions));
    tcase_add_test(tcase, a_long_list_is_searched_the_same_when_it_is_sorted);
    tcase_add_test(tcase, filters_nest_up_to_their_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}
