/* plan_fixture.h -- what tests of plans share: an environment, two arenas, and many points whose
 * payloads are a function of their slot. */
#ifndef PLAN_FIXTURE_H
#define PLAN_FIXTURE_H

#include "index/slots.h"
#include "storage/filter_plan.h"
#include "storage/postings.h"
#include "tests/storage/filter_text.h"
#include "tests/support/posting_env.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct posting_env env;
static struct arena arena; /* of the test */
static struct arena lent;  /* of one request */
static struct error error;

static inline void setup(void) {
    posting_env_open(&env, (size_t)1 << 30);
    arena_init(&arena, (size_t)1 << 30);
    arena_init(&lent, (size_t)1 << 30);
}

static inline void teardown(void) {
    arena_free(&lent);
    arena_free(&arena);
    posting_env_close(&env);
}

#define OK(call) ck_assert_msg((call) == STATUS_OK, "%s", error.message)

static inline bool has(const struct filter_plan *plan, uint32_t slot) {
    return plan->words[slot / 64] >> slot % 64 & 1;
}

static struct payload_index_field fields[8];
static size_t fields_count;

enum {
    MANY = 150000
};

static inline void make_many(void) {
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

/* Odd ids below 1,000 exist. */
static inline enum status slot_of_id(void *context, const struct point_id *id, uint32_t *slot,
                                     struct error *unused) {
    (void)context, (void)unused;
    *slot = id->number < 1000 && id->number % 2 ? (uint32_t)id->number * 100 : SLOT_NONE;
    return STATUS_OK;
}

static inline struct plan_source source_of(MDB_txn *txn) {
    return (struct plan_source){.txn = txn,
                                .postings = env.dbi,
                                .fields = fields,
                                .fields_count = fields_count,
                                .slot_end = MANY,
                                .slot_of = slot_of_id,
                                .arena = &lent};
}

/* Single quotes read better in C than escaped double ones. */
static inline const struct filter *filter_of(const char *text) {
    char *copy = arena_text(&arena, text, strlen(text));
    for (char *at = copy; *at; at++) {
        if (*at == '\'')
            *at = '"';
    }
    return filter_text_parse(copy, &arena);
}

/* A condition on the number n or unique that lists the numbers from first on. */
static inline struct condition list_of(const char *path, int64_t first, size_t count) {
    struct condition condition = {.kind = CONDITION_MATCH, .values_count = count};
    struct payload_scalar *values = arena_alloc(&arena, count * sizeof(*values));
    for (size_t i = 0; i < count; i++)
        values[i] = (struct payload_scalar){.type = PAYLOAD_NUMBER,
                                            .number = payload_number_from_i64(first + (int64_t)i)};
    OK(payload_path_parse(path, strlen(path), &arena, &condition.path, &error));
    condition.values = values;
    return condition;
}

#endif
