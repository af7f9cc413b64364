#include "storage/field_table.h"
#include "storage/lmdb_env.h"

#include <assert.h>
#include <string.h>

static enum status no_memory(struct error *error) {
    return error_set(error, STATUS_NO_MEMORY, "out of memory");
}

/* Makes a field out of its record; the path is copied. */
static enum status field_from_record(const struct field_record *record, struct arena *arena,
                                     struct payload_index_field *field, struct error *error) {
    char *path = arena_text(arena, record->path, record->path_length);
    if (!path)
        return no_memory(error);
    if (record->type >= PAYLOAD_INDEX_TYPE_COUNT)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: type of a payload index");
    *field = (struct payload_index_field){
        .number = record->number,
        .type = (enum payload_index_type)record->type,
        .params = record->params_length > 0 ? record->params : NULL,
        .params_length = record->params_length,
        .is_ready = record->state == FIELD_STATE_READY,
        .next_slot = record->next_slot,
    };
    return payload_path_parse(path, record->path_length, arena, &field->path, error);
}

static enum status add_record(struct field_table *table, const struct field_record *record,
                              struct arena *arena, struct error *error) {
    if (table->count + table->dropping_count >= PAYLOAD_INDEXES_MAX)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: too many payload indexes");
    assert(table->fields && table->dropping);
    if (record->state == FIELD_STATE_DROPPING) {
        table->dropping[table->dropping_count++] = record->number;
        return STATUS_OK;
    }
    struct payload_index_field field = {0};
    enum status status = field_from_record(record, arena, &field, error);
    if (status != STATUS_OK)
        return status;
    table->fields[table->count] = field;
    if (field.is_ready) { /* swap the first unready one to the end */
        table->fields[table->count] = table->fields[table->ready_count];
        table->fields[table->ready_count++] = field;
    }
    table->count++;
    return STATUS_OK;
}

enum status field_table_load(struct field_table *table, const struct point_rows *rows,
                             struct arena *arena, struct error *error) {
    MDB_cursor *cursor;
    MDB_val key = {1, (void *)"f"}, value;
    *table = (struct field_table){0};
    int code = mdb_cursor_open(rows->txn, rows->dbis[COLLECTION_DBI_META], &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the payload indexes");
    enum status status = STATUS_OK;
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == 0 && status == STATUS_OK && key.mv_size == ROW_FIELD_KEY &&
           *(const char *)key.mv_data == 'f') {
        struct field_record record = {0};
        if (!table->fields) {
            table->fields = arena_alloc(arena, PAYLOAD_INDEXES_MAX * sizeof(*table->fields));
            table->dropping = arena_alloc(arena, PAYLOAD_INDEXES_MAX * sizeof(*table->dropping));
        }
        status = !table->fields || !table->dropping
                     ? no_memory(error)
                     : row_keys_read_field(&key, &value, &record, error);
        if (status == STATUS_OK)
            status = add_record(table, &record, arena, error);
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (status == STATUS_OK && code != 0 && code != MDB_NOTFOUND)
        status = lmdb_env_fail(error, code, "read the payload indexes");
    return status;
}

enum status field_table_keep_params(struct field_table *table, struct arena *arena,
                                    struct error *error) {
    for (size_t i = 0; i < table->count; i++) {
        struct payload_index_field *field = &table->fields[i];
        if (field->params)
            field->params = arena_text(arena, field->params, field->params_length);
        if (!field->params && field->params_length > 0)
            return no_memory(error);
    }
    return STATUS_OK;
}

const struct payload_index_field *field_table_find(const struct field_table *table,
                                                   const char *path, size_t length) {
    for (size_t i = 0; i < table->count; i++)
        if (table->fields[i].path.text_length == length &&
            memcmp(table->fields[i].path.text, path, length) == 0)
            return &table->fields[i];
    return NULL;
}

enum status field_table_put(const struct point_rows *rows, const struct payload_index_field *field,
                            enum field_state state, struct error *error) {
    const struct field_record record = {.number = field->number,
                                        .type = (uint8_t)field->type,
                                        .state = state,
                                        .next_slot = field->next_slot,
                                        .path = field->path.text,
                                        .path_length = field->path.text_length,
                                        .params = field->params,
                                        .params_length = field->params ? field->params_length : 0};
    uint8_t key_bytes[ROW_FIELD_KEY];
    row_keys_field(key_bytes, field->number);
    MDB_val key = {sizeof(key_bytes), key_bytes}, value = {row_keys_field_bytes(&record), NULL};
    int code = mdb_put(rows->txn, rows->dbis[COLLECTION_DBI_META], &key, &value, MDB_RESERVE);
    if (code != 0)
        return lmdb_env_fail(error, code, "write a payload index");
    row_keys_write_field(value.mv_data, &record);
    return STATUS_OK;
}

enum status field_table_remove(const struct point_rows *rows, uint16_t number,
                               struct error *error) {
    uint8_t key_bytes[ROW_FIELD_KEY];
    row_keys_field(key_bytes, number);
    MDB_val key = {sizeof(key_bytes), key_bytes};
    int code = mdb_del(rows->txn, rows->dbis[COLLECTION_DBI_META], &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? STATUS_OK
                                             : lmdb_env_fail(error, code, "drop a payload index");
}

enum status field_table_collect(const struct field_table *table, struct posting_batch *batch,
                                const struct stored_row *row, bool add, struct error *error) {
    enum status status = STATUS_OK;
    if (table->ready_count > 0)
        status = payload_index_collect(batch, table->fields, table->ready_count, row->slot,
                                       row->payload, row->payload_length, add, error);
    for (size_t i = table->ready_count; i < table->count && status == STATUS_OK; i++)
        if (row->slot < table->fields[i].next_slot)
            status = payload_index_collect(batch, &table->fields[i], 1, row->slot, row->payload,
                                           row->payload_length, add, error);
    return status;
}
