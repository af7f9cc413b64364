#include "storage/catalogue.h"
#include "storage/fault.h"
#include "storage/file.h"
#include "storage/row_keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The format row, under "format":
 *  0 u64 checksum | 8 u32 format version | 12 u32 zero | 16 u64 next collection number
 *
 * A record, under 'c' and the number (u64 big-endian):
 *  0 u64 checksum | 8 u64 incarnation | 16 u16 next vector | 18 u16 vectors | 20 u32 document
 * length 24 u16 name length | 26 u16 zero | 28 u32 zero | 32 name, vectors, document
 *
 * A vector in it:
 *  0 u16 number | 2 u8 distance | 3 u8 profile | 4 u32 dimension | 8 u32 m | 12 u32 ef_construct
 * 16 u64 full scan threshold (KB) | 24 u16 name length | 26 u16 zero | 28 u32 zero | 32 name
 *
 * A leftover, under 'd' and the number (u64 big-endian):
 *  0 u64 checksum | 8 u64 zero
 */
enum {
    ATTEMPTS_MAX = 2, /* of a change whose commit fails for another reason than space */
    FORMAT_BYTES = 24,
    LEFTOVER_BYTES = 16,
    RECORD_HEADER_BYTES = 32,
    VECTOR_HEADER_BYTES = 32,
};

#define RECORD_KIND   'c'
#define LEFTOVER_KIND 'd'

/* Rows are not asked for while the file is checked, since a newer format may seal them in another
 * way: each start reads all of them. */
static const struct lmdb_check_database database = {.name = "catalogue"};

/* ---- Encoding ---------------------------------------------------------------------------------
 */

static void seal(uint8_t *bytes, size_t length, const void *key, size_t key_length) {
    row_put_u64(bytes, row_keys_checksum(key, key_length, bytes + 8, length - 8));
}

static bool is_sealed(const MDB_val *key, const MDB_val *value) {
    const uint8_t *bytes = value->mv_data;
    return row_get_u64(bytes) ==
           row_keys_checksum(key->mv_data, key->mv_size, bytes + 8, value->mv_size - 8);
}

static size_t record_bytes(const struct catalogue_record *record) {
    size_t bytes = RECORD_HEADER_BYTES + record->name_length + record->config.document_length;
    for (size_t i = 0; i < record->config.vectors_count; i++)
        bytes += VECTOR_HEADER_BYTES + strlen(record->config.vectors[i].name);
    return bytes;
}

static uint8_t *write_vector(uint8_t *at, const struct vector_config *vector) {
    size_t name_length = strlen(vector->name);
    memset(at, 0, VECTOR_HEADER_BYTES);
    row_put_u16(at, vector->number);
    at[2] = (uint8_t)vector->distance;
    at[3] = (uint8_t)vector->profile;
    row_put_u32(at + 4, vector->dimension);
    row_put_u32(at + 8, vector->m);
    row_put_u32(at + 12, vector->ef_construct);
    row_put_u64(at + 16, vector->full_scan_threshold);
    row_put_u16(at + 24, (uint16_t)name_length);
    memcpy(at + VECTOR_HEADER_BYTES, vector->name, name_length);
    return at + VECTOR_HEADER_BYTES + name_length;
}

static void write_record(uint8_t *bytes, const struct catalogue_record *record) {
    const struct collection_config *config = &record->config;
    uint8_t key[ROW_COLLECTION_KEY];
    memset(bytes, 0, RECORD_HEADER_BYTES);
    row_put_u64(bytes + 8, record->incarnation);
    row_put_u16(bytes + 16, record->next_vector);
    row_put_u16(bytes + 18, (uint16_t)config->vectors_count);
    row_put_u32(bytes + 20, (uint32_t)config->document_length);
    row_put_u16(bytes + 24, (uint16_t)record->name_length);
    uint8_t *at = bytes + RECORD_HEADER_BYTES;
    memcpy(at, record->name, record->name_length);
    at += record->name_length;
    for (size_t i = 0; i < config->vectors_count; i++)
        at = write_vector(at, &config->vectors[i]);
    if (config->document_length > 0)
        memcpy(at, config->document, config->document_length);
    at += config->document_length;
    row_keys_collection(key, record->number);
    seal(bytes, (size_t)(at - bytes), key, sizeof(key));
}

/* Copies a name out of the record, since configurations want it NUL-terminated. */
static bool read_vector(const uint8_t **at, const uint8_t *end, struct vector_config *vector,
                        char **names) {
    if (end - *at < VECTOR_HEADER_BYTES)
        return false;
    const uint8_t *bytes = *at;
    size_t name_length = row_get_u16(bytes + 24);
    if ((size_t)(end - bytes) - VECTOR_HEADER_BYTES < name_length ||
        name_length > VECTOR_NAME_MAX || bytes[2] >= DISTANCE_COUNT ||
        bytes[3] >= INDEX_PROFILE_COUNT)
        return false;
    memcpy(*names, bytes + VECTOR_HEADER_BYTES, name_length);
    (*names)[name_length] = '\0';
    *vector = (struct vector_config){.name = *names,
                                     .number = row_get_u16(bytes),
                                     .dimension = row_get_u32(bytes + 4),
                                     .distance = (enum distance)bytes[2],
                                     .profile = (enum index_profile)bytes[3],
                                     .m = row_get_u32(bytes + 8),
                                     .ef_construct = row_get_u32(bytes + 12),
                                     .full_scan_threshold = row_get_u64(bytes + 16)};
    *names += name_length + 1;
    *at = bytes + VECTOR_HEADER_BYTES + name_length;
    return vector->dimension > 0;
}

/* Memory that one record needs while it is visited. */
struct record_memory {
    struct vector_config vectors[COLLECTION_VECTORS_MAX];
    char names[COLLECTION_VECTORS_MAX * (VECTOR_NAME_MAX + 1)];
};

static bool read_record(const MDB_val *key, const MDB_val *value, struct record_memory *memory,
                        struct catalogue_record *record) {
    if (value->mv_size < RECORD_HEADER_BYTES || !is_sealed(key, value))
        return false;
    const uint8_t *bytes = value->mv_data, *end = bytes + value->mv_size;
    const uint8_t *at = bytes + RECORD_HEADER_BYTES;
    size_t vectors_count = row_get_u16(bytes + 18), document_length = row_get_u32(bytes + 20);
    record->incarnation = row_get_u64(bytes + 8);
    record->next_vector = row_get_u16(bytes + 16);
    record->name_length = row_get_u16(bytes + 24);
    record->name = (const char *)at;
    if (record->name_length > COLLECTION_NAME_BYTES_MAX || vectors_count > COLLECTION_VECTORS_MAX ||
        (size_t)(end - at) < record->name_length)
        return false;
    at += record->name_length;
    char *names = memory->names;
    for (size_t i = 0; i < vectors_count; i++)
        if (!read_vector(&at, end, &memory->vectors[i], &names))
            return false;
    record->config = (struct collection_config){.vectors = memory->vectors,
                                                .vectors_count = vectors_count,
                                                .document = (const char *)at,
                                                .document_length = document_length};
    return (size_t)(end - at) == document_length;
}

/* ---- The format row ---------------------------------------------------------------------------
 */

static enum status put_format(struct catalogue *catalogue, MDB_txn *txn, struct error *error) {
    uint8_t bytes[FORMAT_BYTES] = {0};
    MDB_val key = {strlen(ROW_FORMAT_KEY), (void *)ROW_FORMAT_KEY};
    MDB_val value = {sizeof(bytes), bytes};
    row_put_u32(bytes + 8, ROW_FORMAT_VERSION);
    row_put_u64(bytes + 16, catalogue->next_number);
    seal(bytes, sizeof(bytes), key.mv_data, key.mv_size);
    int code = mdb_put(txn, catalogue->env.dbis[0], &key, &value, 0);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "write the catalogue");
}

static enum status read_format(struct catalogue *catalogue, const MDB_val *key,
                               const MDB_val *value, struct error *error) {
    const uint8_t *bytes = value->mv_data;
    if (value->mv_size < 12)
        return error_set(error, STATUS_CORRUPT, "the catalogue's format row is damaged");
    /* The version comes before the checksum: a newer format may seal its rows in another way. */
    if (row_get_u32(bytes + 8) > ROW_FORMAT_VERSION)
        return error_set(error, STATUS_INVALID,
                         "the data folder has format %u, newer than this program's %u: use a newer "
                         "nigh, or another folder",
                         row_get_u32(bytes + 8), (unsigned)ROW_FORMAT_VERSION);
    if (value->mv_size != FORMAT_BYTES || !is_sealed(key, value))
        return error_set(error, STATUS_CORRUPT, "the catalogue's format row is damaged");
    catalogue->next_number = row_get_u64(bytes + 16);
    return STATUS_OK;
}

static enum status find_format(struct catalogue *catalogue, MDB_txn *txn, bool *is_new,
                               struct error *error) {
    MDB_val key = {strlen(ROW_FORMAT_KEY), (void *)ROW_FORMAT_KEY}, value;
    MDB_stat info;
    int code = mdb_get(txn, catalogue->env.dbis[0], &key, &value);
    if (code == 0)
        return read_format(catalogue, &key, &value, error);
    if (code == MDB_NOTFOUND)
        code = mdb_stat(txn, catalogue->env.dbis[0], &info);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the catalogue");
    /* It is written with each other row: beside one, its key is damaged. */
    *is_new = info.ms_entries == 0;
    return *is_new ? STATUS_OK
                   : error_set(error, STATUS_CORRUPT, "the catalogue's format row is missing");
}

enum status catalogue_create(struct catalogue *catalogue, struct error *error) {
    MDB_txn *txn;
    enum status status = lmdb_env_write_begin(&catalogue->env, &txn, error);
    if (status != STATUS_OK)
        return status;
    status = put_format(catalogue, txn, error);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    int code = mdb_txn_commit(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "create the catalogue");
}

enum status catalogue_open(struct catalogue *catalogue, const char *path, bool is_read_only,
                           bool *is_new, struct error *error) {
    *is_new = false;
    catalogue->next_number = 1;
    const struct lmdb_env_options options = {
        .path = path,
        .databases = &database,
        .databases_count = 1,
        .map_bytes = CATALOGUE_MAP_BYTES,
        .map_bytes_max = CATALOGUE_MAP_BYTES_MAX,
        .readers_max = 4,
        .is_read_only = is_read_only,
    };
    enum status status = lmdb_env_open(&catalogue->env, &options, error);
    if (status != STATUS_OK)
        return status;
    MDB_txn *txn;
    status = lmdb_env_read_begin(&catalogue->env, 0, &txn, error);
    if (status == STATUS_OK) {
        status = find_format(catalogue, txn, is_new, error);
        lmdb_env_read_end(&catalogue->env, txn);
    }
    if (status != STATUS_OK)
        lmdb_env_close(&catalogue->env);
    return status;
}

void catalogue_close(struct catalogue *catalogue) {
    lmdb_env_close(&catalogue->env);
}

/* ---- Records ----------------------------------------------------------------------------------
 */

typedef enum status visit_row_fn(void *context, const MDB_val *key, const MDB_val *value,
                                 struct error *error);

/* Visits all rows, of whatever kind: were only those looked for that have a key of their kind, one
 * whose key is damaged would be taken for none. */
static enum status each_row(struct catalogue *catalogue, visit_row_fn *visit, void *context,
                            struct error *error) {
    MDB_txn *txn;
    enum status status = lmdb_env_read_begin(&catalogue->env, 0, &txn, error);
    if (status != STATUS_OK)
        return status;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    int code = mdb_cursor_open(txn, catalogue->env.dbis[0], &cursor);
    while (code == 0 && status == STATUS_OK) {
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        if (code == 0)
            status = visit(context, &key, &value, error);
    }
    if (status == STATUS_OK && code != MDB_NOTFOUND)
        status = lmdb_env_fail(error, code, "read the catalogue");
    mdb_cursor_close(cursor);
    lmdb_env_read_end(&catalogue->env, txn);
    return status;
}

static bool is_of_kind(const MDB_val *key, char kind) {
    return key->mv_size == ROW_COLLECTION_KEY && *(const char *)key->mv_data == kind;
}

static bool is_format(const MDB_val *key) {
    return key->mv_size == strlen(ROW_FORMAT_KEY) &&
           memcmp(key->mv_data, ROW_FORMAT_KEY, key->mv_size) == 0;
}

/* A damaged row is no evidence that a folder may go. */
static bool is_leftover(const MDB_val *key, const MDB_val *value) {
    return is_of_kind(key, LEFTOVER_KIND) && value->mv_size == LEFTOVER_BYTES &&
           is_sealed(key, value);
}

/* 0 if the key is too short to have one. */
static uint64_t key_number(const MDB_val *key) {
    const uint8_t *bytes = key->mv_data;
    if (key->mv_size < ROW_COLLECTION_KEY)
        return 0;
    return (uint64_t)row_keys_slot_of(bytes + 1) << 32 | row_keys_slot_of(bytes + 5);
}

struct record_visit {
    catalogue_visit_fn *visit;
    void *context;
    struct record_memory *memory;
};

static enum status visit_record(void *context, const MDB_val *key, const MDB_val *value,
                                struct error *error) {
    const struct record_visit *visit = context;
    struct catalogue_record record = {.number = key_number(key)};
    if (is_format(key) || is_leftover(key, value))
        return STATUS_OK;
    bool is_good = is_of_kind(key, RECORD_KIND) && read_record(key, value, visit->memory, &record);
    return visit->visit(visit->context, record.number, is_good ? &record : NULL, error);
}

enum status catalogue_each(struct catalogue *catalogue, catalogue_visit_fn *visit, void *context,
                           struct error *error) {
    struct record_visit records = {visit, context, malloc(sizeof(*records.memory))};
    if (!records.memory)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    enum status status = each_row(catalogue, visit_record, &records, error);
    free(records.memory);
    return status;
}

struct leftover_visit {
    catalogue_leftover_fn *visit;
    void *context;
};

static enum status visit_leftover(void *context, const MDB_val *key, const MDB_val *value,
                                  struct error *error) {
    const struct leftover_visit *visit = context;
    (void)error;
    if (is_leftover(key, value))
        visit->visit(visit->context, key_number(key));
    return STATUS_OK;
}

enum status catalogue_each_leftover(struct catalogue *catalogue, catalogue_leftover_fn *visit,
                                    void *context, struct error *error) {
    struct leftover_visit leftovers = {visit, context};
    return each_row(catalogue, visit_leftover, &leftovers, error);
}

/* ---- Changes ----------------------------------------------------------------------------------
 */

/* What a number is after a change: a collection (record), a leftover, or nothing. */
struct fate {
    uint64_t number;
    const struct catalogue_record *record;
    bool is_leftover;
};

static int put_record(struct catalogue *catalogue, MDB_txn *txn, MDB_val *key,
                      const struct catalogue_record *record) {
    MDB_val value = {record_bytes(record), NULL};
    int code = mdb_put(txn, catalogue->env.dbis[0], key, &value, MDB_RESERVE);
    if (code == 0)
        write_record(value.mv_data, record);
    return code;
}

static int put_leftover(struct catalogue *catalogue, MDB_txn *txn, MDB_val *key) {
    uint8_t bytes[LEFTOVER_BYTES] = {0};
    MDB_val value = {sizeof(bytes), bytes};
    seal(bytes, sizeof(bytes), key->mv_data, key->mv_size);
    return mdb_put(txn, catalogue->env.dbis[0], key, &value, 0);
}

static int remove_row(struct catalogue *catalogue, MDB_txn *txn, MDB_val *key) {
    int code = mdb_del(txn, catalogue->env.dbis[0], key, NULL);
    return code == MDB_NOTFOUND ? 0 : code;
}

static enum status write_fate(struct catalogue *catalogue, MDB_txn *txn, const struct fate *fate,
                              struct error *error) {
    uint8_t bytes[ROW_COLLECTION_KEY];
    MDB_val key = {sizeof(bytes), bytes};
    row_keys_collection(bytes, fate->number);
    int code = fate->record ? put_record(catalogue, txn, &key, fate->record)
                            : remove_row(catalogue, txn, &key);
    bytes[0] = LEFTOVER_KIND;
    if (code == 0)
        code = fate->is_leftover ? put_leftover(catalogue, txn, &key)
                                 : remove_row(catalogue, txn, &key);
    return code == 0 ? put_format(catalogue, txn, error)
                     : lmdb_env_fail(error, code, "write the catalogue");
}

static enum status commit_fate(struct catalogue *catalogue, const struct fate *fate,
                               struct error *error) {
    MDB_txn *txn;
    enum status status = lmdb_env_write_begin(&catalogue->env, &txn, error);
    if (status != STATUS_OK)
        return status;
    status = write_fate(catalogue, txn, fate, error);
    if (status != STATUS_OK || FAULT_POINT("catalogue.commit")) {
        mdb_txn_abort(txn);
        return status != STATUS_OK
                   ? status
                   : error_set(error, STATUS_IO, "write the catalogue: fault of a test");
    }
    int code = mdb_txn_commit(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "write the catalogue");
}

/* The map is grown as often as it takes, and for nothing else than that it is full. After a commit
 * that failed for another reason than space, the rows may be on disk or not, or only in the page
 * cache: open again and write the same once more, which is right in all three cases. */
static enum status change(struct catalogue *catalogue, const struct fate *fate,
                          struct error *error) {
    if (catalogue->has_failed)
        return error_set(error, STATUS_UNAVAILABLE, "the catalogue is read-only until restart");
    for (int failures = 0;;) {
        enum status status = commit_fate(catalogue, fate, error);
        if (status == STATUS_MAP_FULL) {
            status = lmdb_env_grow(&catalogue->env, error);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        if (status != STATUS_IO)
            return status;
        /* A write that a full disk cut short is told as any other that failed. */
        if (!lmdb_env_has_panicked(&catalogue->env) && file_is_disk_full(catalogue->env.path))
            return error_set(error, STATUS_NO_SPACE, "No space left: disk full");
        catalogue->has_failed =
            ++failures == ATTEMPTS_MAX || lmdb_env_reopen(&catalogue->env, error) != STATUS_OK;
        if (catalogue->has_failed)
            return STATUS_IO;
    }
}

enum status catalogue_reserve(struct catalogue *catalogue, uint64_t *number, struct error *error) {
    const struct fate fate = {.number = catalogue->next_number, .is_leftover = true};
    catalogue->next_number++; /* never used again, whatever comes */
    *number = fate.number;
    return change(catalogue, &fate, error);
}

enum status catalogue_put(struct catalogue *catalogue, const struct catalogue_record *record,
                          struct error *error) {
    assert(record->number < catalogue->next_number);
    const struct fate fate = {.number = record->number, .record = record};
    return change(catalogue, &fate, error);
}

enum status catalogue_remove(struct catalogue *catalogue, uint64_t number, struct error *error) {
    const struct fate fate = {.number = number, .is_leftover = true};
    return change(catalogue, &fate, error);
}

enum status catalogue_forget(struct catalogue *catalogue, uint64_t number, struct error *error) {
    const struct fate fate = {.number = number};
    return change(catalogue, &fate, error);
}
