#include "storage/point_rows.h"
#include "storage/lmdb_env.h"

#include <assert.h>
#include <string.h>

enum {
    LINE_BYTES = 64, /* of the caches */
    PREFETCH_BYTES = 8 * LINE_BYTES,
};

/* Reads one record; *is_found false if there is none. */
static enum status get(const struct point_rows *rows, enum collection_dbi dbi, MDB_val *key,
                       MDB_val *value, bool *is_found, struct error *error) {
    int code = mdb_get(rows->txn, rows->dbis[dbi], key, value);
    *is_found = code == 0;
    return code == 0 || code == MDB_NOTFOUND ? STATUS_OK : lmdb_env_fail(error, code, "read a row");
}

static enum status remove_key(const struct point_rows *rows, enum collection_dbi dbi, MDB_val *key,
                              struct error *error) {
    int code = mdb_del(rows->txn, rows->dbis[dbi], key, NULL);
    if (code == MDB_NOTFOUND)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a row is missing");
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "remove a row");
}

enum status point_rows_find(const struct point_rows *rows, const struct point_id *id,
                            uint32_t *slot, bool *is_found, struct error *error) {
    uint8_t bytes[POINT_ID_KEY_MAX];
    MDB_val key = {point_id_key(id, bytes), bytes}, value;
    enum status status = get(rows, COLLECTION_DBI_POINTS, &key, &value, is_found, error);
    if (status != STATUS_OK || !*is_found)
        return status;
    return row_keys_read_point(&key, &value, slot, error);
}

static enum status get_row(const struct point_rows *rows, uint32_t slot, MDB_val *value,
                           bool *is_found, struct error *error) {
    uint8_t bytes[ROW_SLOT_KEY];
    row_keys_slot(bytes, slot);
    MDB_val key = {sizeof(bytes), bytes};
    return get(rows, COLLECTION_DBI_ROWS, &key, value, is_found, error);
}

enum status point_rows_locate(const struct point_rows *rows, uint32_t slot,
                              struct place_cache *cache, MDB_val *value, struct error *error) {
    enum status status = STATUS_OK;
    if (!cache || !place_cache_find(cache, PLACE_ROWS, 0, slot, value)) {
        bool is_found;
        status = get_row(rows, slot, value, &is_found, error);
        if (!is_found)
            *value = (MDB_val){0};
        else if (cache)
            place_cache_put(cache, PLACE_ROWS, 0, slot, value);
    }
    /* Reading on in order, the processor fetches ahead by itself. */
    for (size_t i = 0; i < value->mv_size && i < PREFETCH_BYTES; i += LINE_BYTES)
        __builtin_prefetch((const char *)value->mv_data + i);
    return status;
}

enum status point_rows_get(const struct point_rows *rows, uint32_t slot, struct stored_row *row,
                           bool *is_found, struct error *error) {
    MDB_val value;
    enum status status = get_row(rows, slot, &value, is_found, error);
    if (status != STATUS_OK || !*is_found)
        return status;
    return row_keys_read_row(slot, &value, row, error);
}

enum status point_rows_get_live(const struct point_rows *rows, uint32_t slot,
                                struct stored_row *row, struct error *error) {
    bool is_found;
    enum status status = point_rows_get(rows, slot, row, &is_found, error);
    if (status == STATUS_OK && !is_found)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a row is missing");
    return status;
}

enum status point_rows_get_by_id(const struct point_rows *rows, const struct point_id *id,
                                 struct stored_row *row, bool *is_found, struct error *error) {
    uint32_t slot;
    enum status status = point_rows_find(rows, id, &slot, is_found, error);
    if (status != STATUS_OK || !*is_found)
        return status;
    status = point_rows_get(rows, slot, row, is_found, error);
    if (status == STATUS_OK && (!*is_found || point_id_compare(&row->id, id) != 0))
        return error_set(error, STATUS_CORRUPT,
                         "Stored data is corrupt: an id and its row do not agree");
    return status;
}

enum status point_rows_put(const struct point_rows *rows, const struct stored_row *row,
                           bool with_entry, struct error *error) {
    uint8_t slot_key[ROW_SLOT_KEY], id_key[POINT_ID_KEY_MAX], entry[ROW_POINT_BYTES];
    row_keys_slot(slot_key, row->slot);
    MDB_val key = {sizeof(slot_key), slot_key}, value = {row_keys_row_bytes(row), NULL};
    int code = mdb_put(rows->txn, rows->dbis[COLLECTION_DBI_ROWS], &key, &value, MDB_RESERVE);
    if (code != 0)
        return lmdb_env_fail(error, code, "write a row");
    row_keys_write_row(value.mv_data, row);
    if (!with_entry)
        return STATUS_OK;
    key = (MDB_val){point_id_key(&row->id, id_key), id_key};
    row_keys_write_point(entry, id_key, key.mv_size, row->slot);
    value = (MDB_val){sizeof(entry), entry};
    code = mdb_put(rows->txn, rows->dbis[COLLECTION_DBI_POINTS], &key, &value, 0);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "write an id");
}

enum status point_rows_remove_row(const struct point_rows *rows, uint32_t slot,
                                  struct error *error) {
    uint8_t bytes[ROW_SLOT_KEY];
    row_keys_slot(bytes, slot);
    MDB_val key = {sizeof(bytes), bytes};
    return remove_key(rows, COLLECTION_DBI_ROWS, &key, error);
}

enum status point_rows_remove_entry(const struct point_rows *rows, const struct point_id *id,
                                    struct error *error) {
    uint8_t bytes[POINT_ID_KEY_MAX];
    MDB_val key = {point_id_key(id, bytes), bytes};
    return remove_key(rows, COLLECTION_DBI_POINTS, &key, error);
}

enum status point_rows_read_state(const struct point_rows *rows, struct collection_state *state,
                                  bool *is_found, struct error *error) {
    MDB_val key = {strlen(ROW_STATE_KEY), (void *)ROW_STATE_KEY}, value;
    enum status status = get(rows, COLLECTION_DBI_META, &key, &value, is_found, error);
    if (status != STATUS_OK || !*is_found)
        return status;
    return row_keys_read_state(&value, state, error);
}

enum status point_rows_write_state(const struct point_rows *rows,
                                   const struct collection_state *state, struct error *error) {
    uint8_t bytes[ROW_STATE_BYTES];
    row_keys_write_state(bytes, state);
    MDB_val key = {strlen(ROW_STATE_KEY), (void *)ROW_STATE_KEY}, value = {sizeof(bytes), bytes};
    int code = mdb_put(rows->txn, rows->dbis[COLLECTION_DBI_META], &key, &value, 0);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "write the state");
}

enum status point_rows_not_found(struct error *error, const struct point_id *id) {
    char uuid[POINT_ID_UUID_TEXT + 1] = "";
    if (id->kind == POINT_ID_NUMBER)
        return error_set(error, STATUS_NOT_FOUND, "No point with id %llu found",
                         (unsigned long long)id->number);
    if (id->kind == POINT_ID_TEXT)
        return error_set(error, STATUS_NOT_FOUND, "No point with id %.*s found",
                         (int)id->text_length, id->text);
    point_id_uuid_text(id->uuid, uuid);
    return error_set(error, STATUS_NOT_FOUND, "No point with id %.*s found", POINT_ID_UUID_TEXT,
                     uuid);
}
