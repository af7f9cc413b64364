#include "storage/payload_index.h"

#include "storage/filter.h"
#include "storage/lmdb_env.h"
#include "storage/postings.h"

#include <assert.h>
#include <string.h>

const char *payload_index_type_name(enum payload_index_type type) {
    static const char *const names[] = {
#define PAYLOAD_INDEX_NAME(name, text, class) text,
        PAYLOAD_INDEX_TABLE(PAYLOAD_INDEX_NAME)
#undef PAYLOAD_INDEX_NAME
    };
    assert((unsigned)type < PAYLOAD_INDEX_TYPE_COUNT);
    return names[type];
}

enum posting_class payload_index_class(enum payload_index_type type) {
    static const enum posting_class classes[] = {
#define PAYLOAD_INDEX_CLASS(name, text, class) POSTING_##class,
        PAYLOAD_INDEX_TABLE(PAYLOAD_INDEX_CLASS)
#undef PAYLOAD_INDEX_CLASS
    };
    assert((unsigned)type < PAYLOAD_INDEX_TYPE_COUNT);
    return classes[type];
}

/* ---- From a payload to postings ------------------------------------------------------------- */

/* One field of one payload. */
struct collecting {
    struct posting_batch *batch;
    const struct payload_index_field *field;
    enum posting_class class; /* of the field's values */
    uint32_t slot;
    bool add;
    struct error *error;
    enum status status; /* the first failure ends the walk */

    size_t elements; /* that are not null */
    bool has_typed, has_other, has_value, has_null;
};

static bool post(struct collecting *collecting, enum posting_class class, const void *value,
                 size_t length) {
    if (collecting->status == STATUS_OK)
        collecting->status =
            posting_batch_edit(collecting->batch, collecting->field->number, class, value, length,
                               collecting->slot, collecting->add, collecting->error);
    return collecting->status == STATUS_OK;
}

static void post_string(struct collecting *collecting, const struct payload_value *value) {
    uint8_t bytes[POSTING_VALUE_MAX];
    const char *string = value->text + 1; /* what stands between the quotes, if it has no escapes */
    size_t length, string_length = value->length - 2;
    if (memchr(string, '\\', string_length)) {
        char *decoded = arena_alloc(collecting->batch->arena, value->length);
        if (!decoded) {
            collecting->status = error_set(collecting->error, STATUS_NO_MEMORY,
                                           "out of memory for the postings of a write");
            return;
        }
        string_length = payload_string_decode(value, decoded);
        string = decoded;
    }
    enum posting_class class = posting_string(string, string_length, bytes, &length);
    post(collecting, class, bytes, length);
}

static void post_number(struct collecting *collecting, const struct payload_number *number) {
    uint8_t bytes[POSTING_NUMBER_BYTES];
    posting_number(number, bytes);
    post(collecting, collecting->class, bytes, sizeof(bytes));
}

/* Posts the element if it is one that the field's class takes. */
static bool post_typed(struct collecting *collecting, const struct payload_value *value) {
    struct payload_number number;
    int64_t microseconds;
    switch (collecting->class) {
    case POSTING_STRING:
        if (value->type != PAYLOAD_STRING || value->length < 2)
            return false;
        post_string(collecting, value);
        return true;
    case POSTING_NUMBER:
        if (value->type != PAYLOAD_NUMBER)
            return false;
        number = payload_number_from_text(value->text, value->length);
        post_number(collecting, &number);
        return true;
    case POSTING_BOOL: {
        const uint8_t truth = *value->text == 't';
        if (value->type != PAYLOAD_BOOL)
            return false;
        post(collecting, POSTING_BOOL, &truth, sizeof(truth));
        return true;
    }
    case POSTING_DATETIME:
        if (!payload_value_datetime(value, &microseconds))
            return false;
        number = payload_number_from_i64(microseconds);
        post_number(collecting, &number);
        return true;
    default:
        assert(false && "a class of values");
        return false;
    }
}

/* An element as match and range see it. */
static bool visit_element(void *context, const struct payload_value *value) {
    struct collecting *collecting = context;
    if (value->type == PAYLOAD_NULL)
        return false;
    collecting->elements++;
    if (post_typed(collecting, value))
        collecting->has_typed = true;
    else
        collecting->has_other = true;
    return collecting->status != STATUS_OK;
}

static bool visit_value(void *context, const struct payload_value *value) {
    struct collecting *collecting = context;
    collecting->has_value |= !filter_value_is_empty(value);
    collecting->has_null |= filter_value_is_null(value);
    return value->type == PAYLOAD_ARRAY ? payload_array_each(value, visit_element, collecting)
                                        : visit_element(collecting, value);
}

enum status payload_index_collect(struct posting_batch *batch,
                                  const struct payload_index_field *fields, size_t count,
                                  uint32_t slot, const char *payload, size_t length, bool add,
                                  struct error *error) {
    for (size_t i = 0; i < count; i++) {
        struct collecting collecting = {.batch = batch,
                                        .field = &fields[i],
                                        .class = payload_index_class(fields[i].type),
                                        .slot = slot,
                                        .add = add,
                                        .error = error};
        payload_each(payload, length, &fields[i].path, visit_value, &collecting);
        const struct {
            bool holds;
            enum posting_class class;
        } marks[] = {
            {collecting.has_typed, POSTING_TYPED},       {collecting.has_other, POSTING_OTHER},
            {collecting.elements > 1, POSTING_MULTIPLE}, {collecting.has_value, POSTING_HAS_VALUE},
            {collecting.has_null, POSTING_HAS_NULL},
        };
        for (size_t j = 0; j < sizeof(marks) / sizeof(marks[0]); j++) {
            if (marks[j].holds)
                post(&collecting, marks[j].class, NULL, 0);
        }
        if (collecting.status != STATUS_OK)
            return collecting.status;
    }
    return STATUS_OK;
}

/* ---- Whole indexes -------------------------------------------------------------------------- */

enum status payload_index_drop_step(MDB_txn *txn, MDB_dbi dbi, uint16_t field, size_t deletions_max,
                                    bool *done, struct error *error) {
    MDB_cursor *cursor;
    const uint8_t prefix[] = {(uint8_t)(field >> 8), (uint8_t)field};
    *done = false;
    int code = mdb_cursor_open(txn, dbi, &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "open a payload index");
    for (size_t deleted = 0; code == 0 && !*done; deleted++) {
        MDB_val key = {sizeof(prefix), (void *)(uintptr_t)prefix}, value;
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        *done = code == MDB_NOTFOUND ||
                (code == 0 && (key.mv_size < sizeof(prefix) ||
                               memcmp(key.mv_data, prefix, sizeof(prefix)) != 0));
        if (deleted == deletions_max)
            break;
        if (code == 0 && !*done)
            code = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_env_fail(error, code, "drop a payload index");
    return STATUS_OK;
}

enum status payload_index_count(MDB_txn *txn, MDB_dbi dbi, uint16_t field, uint64_t *points,
                                struct error *error) {
    const struct posting_range range = {.field = field, .class = POSTING_TYPED};
    struct posting_walk walk;
    bool more = true;
    *points = 0;
    enum status status = posting_walk_begin(&walk, txn, dbi, error);
    if (status == STATUS_OK)
        posting_walk_seek(&walk, &range);
    while (status == STATUS_OK && (status = posting_walk_next(&walk, &more, error)) == STATUS_OK &&
           more)
        *points += walk.count;
    posting_walk_end(&walk);
    return status;
}
