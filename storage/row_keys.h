/* row_keys.h -- every key and every record that the core of storage keeps in LMDB, as bytes.
 *
 * The offset tables stand in docs/FORMAT.md and above the code. Keys are big-endian, so that LMDB's
 * order is the numbers' order; the insides of records are little-endian. Each record begins with an
 * XXH3 over its key and the rest of it. Reading checks the length first, then the checksum, then
 * each inner size; whatever is wrong is STATUS_CORRUPT (invariant 8).
 */
#ifndef ROW_KEYS_H
#define ROW_KEYS_H

#include "index/status.h"
#include "storage/point_id.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROW_FORMAT_VERSION = 1, /* of the data folder and of each collection */
    ROW_SLOT_KEY = 4,
    ROW_VECTOR_KEY = 6,
    ROW_FIELD_KEY = 3,
    ROW_COLLECTION_KEY = 9,
    ROW_STATE_BYTES = 48,
    ROW_POINT_BYTES = 12,
    ROW_HEADER_BYTES = 32,
    ROW_FIELD_HEADER_BYTES = 24,
    ROW_VECTOR_HEADER_BYTES = 16,
    ROW_VECTOR_BLOCK_BYTES = 65520, /* with LMDB's 16 byte header: 16 pages */
};

#define ROW_STATE_KEY  "state"
#define ROW_FORMAT_KEY "format"

/* Checksum of a record's bytes after the checksum itself, bound to its key. */
uint64_t row_keys_checksum(const void *key, size_t key_length, const void *bytes, size_t length);

void row_keys_slot(uint8_t key[ROW_SLOT_KEY], uint32_t slot);
uint32_t row_keys_slot_of(const void *key);
void row_keys_vector(uint8_t key[ROW_VECTOR_KEY], uint16_t vector, uint32_t block);
void row_keys_field(uint8_t key[ROW_FIELD_KEY], uint16_t field);
void row_keys_collection(uint8_t key[ROW_COLLECTION_KEY], uint64_t number);

/* ---- The state of a collection: one record ----------------------------------------------------
 */

struct collection_state {
    uint32_t next_slot;   /* slots below have been used */
    uint64_t incarnation; /* drawn at creation; graph files and the catalogue repeat it */
    uint64_t operation;   /* the last one applied */
    uint64_t points;      /* how many there are */
    uint16_t next_field;  /* number of the next payload index; from 1 */
};

void row_keys_write_state(uint8_t bytes[ROW_STATE_BYTES], const struct collection_state *state);
MUST_CHECK enum status row_keys_read_state(const MDB_val *value, struct collection_state *state,
                                           struct error *error);

/* ---- The payload indexes ----------------------------------------------------------------------
 */

enum field_state {
    FIELD_STATE_BUILDING, /* slots below next_slot are posted */
    FIELD_STATE_READY,
    FIELD_STATE_DROPPING, /* hidden; its postings are being deleted */
};

struct field_record {
    uint16_t number;
    uint8_t type; /* enum payload_index_type */
    enum field_state state;
    uint32_t next_slot;
    const char *path; /* borrowed, not NUL-terminated */
    size_t path_length;
    const char *params; /* borrowed; length 0: none */
    size_t params_length;
};

size_t row_keys_field_bytes(const struct field_record *record);
void row_keys_write_field(uint8_t *bytes, const struct field_record *record);
MUST_CHECK enum status row_keys_read_field(const MDB_val *key, const MDB_val *value,
                                           struct field_record *record, struct error *error);

/* ---- Points -----------------------------------------------------------------------------------
 */

void row_keys_write_point(uint8_t bytes[ROW_POINT_BYTES], const void *key, size_t key_length,
                          uint32_t slot);
MUST_CHECK enum status row_keys_read_point(const MDB_val *key, const MDB_val *value, uint32_t *slot,
                                           struct error *error);

/* What is stored of a point under its slot. Read: borrows from the map. */
struct stored_row {
    uint32_t slot;
    uint64_t version; /* the operation that last changed the point */
    uint64_t born;    /* the operation that gave the slot its vectors */
    struct point_id id;
    const uint8_t *vectors; /* numbers of the vectors it has, u16 little-endian, ascending */
    size_t vectors_count;
    const char *payload; /* "{}" if there is none */
    size_t payload_length;
};

size_t row_keys_row_bytes(const struct stored_row *row);
void row_keys_write_row(uint8_t *bytes, const struct stored_row *row);
MUST_CHECK enum status row_keys_read_row(uint32_t slot, const MDB_val *value,
                                         struct stored_row *row, struct error *error);

uint16_t row_keys_row_vector(const struct stored_row *row, size_t index);
bool row_keys_row_has_vector(const struct stored_row *row, uint16_t number);

/* ---- Little-endian numbers, for the records that other files lay out ---------------------------
 */

static inline uint16_t row_get_u16(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}
static inline uint32_t row_get_u32(const uint8_t *at) {
    return (uint32_t)row_get_u16(at) | (uint32_t)row_get_u16(at + 2) << 16;
}
static inline uint64_t row_get_u64(const uint8_t *at) {
    return (uint64_t)row_get_u32(at) | (uint64_t)row_get_u32(at + 4) << 32;
}
static inline void row_put_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}
static inline void row_put_u32(uint8_t *at, uint32_t value) {
    row_put_u16(at, (uint16_t)value);
    row_put_u16(at + 2, (uint16_t)(value >> 16));
}
static inline void row_put_u64(uint8_t *at, uint64_t value) {
    row_put_u32(at, (uint32_t)value);
    row_put_u32(at + 4, (uint32_t)(value >> 32));
}

#endif
