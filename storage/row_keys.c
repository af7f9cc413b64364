#include "storage/row_keys.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

enum {
    CHECKSUM_BYTES = 8,
};

static const char no_payload[] = "{}";

uint64_t row_keys_checksum(const void *key, size_t key_length, const void *bytes, size_t length) {
    return XXH3_64bits_withSeed(bytes, length, XXH3_64bits(key, key_length));
}

/* Fills in the checksum of a record whose rest has been written. */
static void seal(uint8_t *bytes, size_t length, const void *key, size_t key_length) {
    row_put_u64(
        bytes, row_keys_checksum(key, key_length, bytes + CHECKSUM_BYTES, length - CHECKSUM_BYTES));
}

static bool is_sealed(const MDB_val *value, const void *key, size_t key_length) {
    const uint8_t *bytes = value->mv_data;
    return row_get_u64(bytes) == row_keys_checksum(key, key_length, bytes + CHECKSUM_BYTES,
                                                   value->mv_size - CHECKSUM_BYTES);
}

static enum status corrupt(struct error *error, const char *what) {
    return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: %s", what);
}

/* ---- Keys -------------------------------------------------------------------------------------
 */

static void put_big_endian(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

void row_keys_slot(uint8_t key[ROW_SLOT_KEY], uint32_t slot) {
    put_big_endian(key, slot, 4);
}

uint32_t row_keys_slot_of(const void *key) {
    const uint8_t *at = key;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void row_keys_vector(uint8_t key[ROW_VECTOR_KEY], uint16_t vector, uint32_t block) {
    put_big_endian(key, vector, 2);
    put_big_endian(key + 2, block, 4);
}

void row_keys_field(uint8_t key[ROW_FIELD_KEY], uint16_t field) {
    key[0] = 'f';
    put_big_endian(key + 1, field, 2);
}

void row_keys_collection(uint8_t key[ROW_COLLECTION_KEY], uint64_t number) {
    key[0] = 'c';
    put_big_endian(key + 1, number, 8);
}

/* ---- State -------------------------------------------------------------------------------------
 *  0 u64 checksum | 8 u32 format version | 12 u32 next slot | 16 u64 incarnation
 * 24 u64 last operation | 32 u64 points | 40 u16 next field | 42 zeros
 */

void row_keys_write_state(uint8_t bytes[ROW_STATE_BYTES], const struct collection_state *state) {
    memset(bytes, 0, ROW_STATE_BYTES);
    row_put_u32(bytes + 8, ROW_FORMAT_VERSION);
    row_put_u32(bytes + 12, state->next_slot);
    row_put_u64(bytes + 16, state->incarnation);
    row_put_u64(bytes + 24, state->operation);
    row_put_u64(bytes + 32, state->points);
    row_put_u16(bytes + 40, state->next_field);
    seal(bytes, ROW_STATE_BYTES, ROW_STATE_KEY, strlen(ROW_STATE_KEY));
}

enum status row_keys_read_state(const MDB_val *value, struct collection_state *state,
                                struct error *error) {
    if (value->mv_size != ROW_STATE_BYTES ||
        !is_sealed(value, ROW_STATE_KEY, strlen(ROW_STATE_KEY)))
        return corrupt(error, "the state of the collection");
    const uint8_t *bytes = value->mv_data;
    if (row_get_u32(bytes + 8) != ROW_FORMAT_VERSION)
        return error_set(error, STATUS_CORRUPT,
                         "the collection has format %u, this program reads %u",
                         row_get_u32(bytes + 8), (unsigned)ROW_FORMAT_VERSION);
    *state = (struct collection_state){.next_slot = row_get_u32(bytes + 12),
                                       .incarnation = row_get_u64(bytes + 16),
                                       .operation = row_get_u64(bytes + 24),
                                       .points = row_get_u64(bytes + 32),
                                       .next_field = row_get_u16(bytes + 40)};
    return STATUS_OK;
}

/* ---- Fields ------------------------------------------------------------------------------------
 *  0 u64 checksum | 8 u16 number | 10 u8 type | 11 u8 state | 12 u32 next slot
 * 16 u32 path length | 20 u32 parameters' length | 24 path, parameters
 */

size_t row_keys_field_bytes(const struct field_record *record) {
    return ROW_FIELD_HEADER_BYTES + record->path_length + record->params_length;
}

void row_keys_write_field(uint8_t *bytes, const struct field_record *record) {
    uint8_t key[ROW_FIELD_KEY];
    row_put_u16(bytes + 8, record->number);
    bytes[10] = record->type;
    bytes[11] = (uint8_t)record->state;
    row_put_u32(bytes + 12, record->next_slot);
    row_put_u32(bytes + 16, (uint32_t)record->path_length);
    row_put_u32(bytes + 20, (uint32_t)record->params_length);
    memcpy(bytes + ROW_FIELD_HEADER_BYTES, record->path, record->path_length);
    if (record->params_length > 0)
        memcpy(bytes + ROW_FIELD_HEADER_BYTES + record->path_length, record->params,
               record->params_length);
    row_keys_field(key, record->number);
    seal(bytes, row_keys_field_bytes(record), key, sizeof(key));
}

enum status row_keys_read_field(const MDB_val *key, const MDB_val *value,
                                struct field_record *record, struct error *error) {
    if (value->mv_size < ROW_FIELD_HEADER_BYTES || key->mv_size != ROW_FIELD_KEY ||
        !is_sealed(value, key->mv_data, key->mv_size))
        return corrupt(error, "a payload index");
    const uint8_t *bytes = value->mv_data;
    uint64_t path_length = row_get_u32(bytes + 16), params_length = row_get_u32(bytes + 20);
    if (path_length + params_length != value->mv_size - ROW_FIELD_HEADER_BYTES ||
        bytes[11] > FIELD_STATE_DROPPING)
        return corrupt(error, "a payload index");
    *record =
        (struct field_record){.number = row_get_u16(bytes + 8),
                              .type = bytes[10],
                              .state = (enum field_state)bytes[11],
                              .next_slot = row_get_u32(bytes + 12),
                              .path = (const char *)bytes + ROW_FIELD_HEADER_BYTES,
                              .path_length = path_length,
                              .params = (const char *)bytes + ROW_FIELD_HEADER_BYTES + path_length,
                              .params_length = params_length};
    return STATUS_OK;
}

/* ---- Points: 0 u64 checksum | 8 u32 slot -------------------------------------------------------
 */

void row_keys_write_point(uint8_t bytes[ROW_POINT_BYTES], const void *key, size_t key_length,
                          uint32_t slot) {
    row_put_u32(bytes + 8, slot);
    seal(bytes, ROW_POINT_BYTES, key, key_length);
}

enum status row_keys_read_point(const MDB_val *key, const MDB_val *value, uint32_t *slot,
                                struct error *error) {
    if (value->mv_size != ROW_POINT_BYTES || !is_sealed(value, key->mv_data, key->mv_size))
        return corrupt(error, "the entry of an id");
    *slot = row_get_u32((const uint8_t *)value->mv_data + 8);
    return STATUS_OK;
}

/* ---- Rows --------------------------------------------------------------------------------------
 *  0 u64 checksum | 8 u64 version | 16 u64 born | 24 u16 id length | 26 u16 vectors
 * 28 u32 payload length | 32 u16 vector numbers, id key, payload
 */

static size_t stored_payload(const struct stored_row *row) {
    bool is_empty = row->payload_length == 2 && memcmp(row->payload, no_payload, 2) == 0;
    return is_empty ? 0 : row->payload_length;
}

static size_t id_key_bytes(const struct point_id *id) {
    uint8_t key[POINT_ID_KEY_MAX];
    return point_id_key(id, key);
}

size_t row_keys_row_bytes(const struct stored_row *row) {
    return ROW_HEADER_BYTES + 2 * row->vectors_count + id_key_bytes(&row->id) + stored_payload(row);
}

void row_keys_write_row(uint8_t *bytes, const struct stored_row *row) {
    uint8_t id_key[POINT_ID_KEY_MAX], key[ROW_SLOT_KEY];
    size_t id_length = point_id_key(&row->id, id_key), payload_length = stored_payload(row);
    row_put_u64(bytes + 8, row->version);
    row_put_u64(bytes + 16, row->born);
    row_put_u16(bytes + 24, (uint16_t)id_length);
    row_put_u16(bytes + 26, (uint16_t)row->vectors_count);
    row_put_u32(bytes + 28, (uint32_t)payload_length);
    uint8_t *at = bytes + ROW_HEADER_BYTES;
    if (row->vectors_count > 0)
        memcpy(at, row->vectors, 2 * row->vectors_count);
    at += 2 * row->vectors_count;
    memcpy(at, id_key, id_length);
    at += id_length;
    if (payload_length > 0)
        memcpy(at, row->payload, payload_length);
    at += payload_length;
    row_keys_slot(key, row->slot);
    seal(bytes, (size_t)(at - bytes), key, sizeof(key));
}

enum status row_keys_read_row(uint32_t slot, const MDB_val *value, struct stored_row *row,
                              struct error *error) {
    uint8_t key[ROW_SLOT_KEY];
    row_keys_slot(key, slot);
    if (value->mv_size < ROW_HEADER_BYTES || !is_sealed(value, key, sizeof(key)))
        return corrupt(error, "the row of a point");
    const uint8_t *bytes = value->mv_data;
    size_t id_length = row_get_u16(bytes + 24), vectors_count = row_get_u16(bytes + 26);
    size_t payload_length = row_get_u32(bytes + 28);
    if (2 * vectors_count + id_length + payload_length != value->mv_size - ROW_HEADER_BYTES)
        return corrupt(error, "the row of a point");
    const uint8_t *id_key = bytes + ROW_HEADER_BYTES + 2 * vectors_count;
    *row = (struct stored_row){.slot = slot,
                               .version = row_get_u64(bytes + 8),
                               .born = row_get_u64(bytes + 16),
                               .vectors = bytes + ROW_HEADER_BYTES,
                               .vectors_count = vectors_count,
                               .payload = (const char *)id_key + id_length,
                               .payload_length = payload_length};
    if (payload_length == 0) {
        row->payload = no_payload;
        row->payload_length = 2;
    }
    if (!point_id_from_key(id_key, id_length, &row->id))
        return corrupt(error, "the id of a point");
    return STATUS_OK;
}

uint16_t row_keys_row_vector(const struct stored_row *row, size_t index) {
    assert(index < row->vectors_count);
    return row_get_u16(row->vectors + 2 * index);
}

bool row_keys_row_has_vector(const struct stored_row *row, uint16_t number) {
    for (size_t i = 0; i < row->vectors_count; i++)
        if (row_keys_row_vector(row, i) == number)
            return true;
    return false;
}
