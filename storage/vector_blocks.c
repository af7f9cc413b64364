#include "storage/vector_blocks.h"
#include "storage/lmdb_env.h"
#include "storage/row_keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An entry: 0 u64 operation (0: empty) | 8 u64 checksum over key, slot, operation and numbers
 * | 16 f32 numbers, little-endian. Entry i of block b is slot b * capacity + i.
 *
 * The length of a block is 16 short of whole pages: LMDB puts 16 bytes in front. It is never below
 * one page, since only then does LMDB give it pages of its own, on which numbers are aligned. */
enum {
    PAGE_HEADER_BYTES = 16,
    BATCH_FIRST = 256,
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "vectors are lent from the map as they lie there");

struct vector_layout vector_blocks_layout(uint16_t number, uint32_t dimension) {
    uint32_t stride = ROW_VECTOR_HEADER_BYTES + dimension * (uint32_t)sizeof(float);
    uint32_t capacity = ROW_VECTOR_BLOCK_BYTES / stride;
    return (struct vector_layout){.number = number,
                                  .dimension = dimension,
                                  .stride = stride,
                                  .capacity = capacity > 0 ? capacity : 1};
}

/* The checksum is bound to vector number, slot and operation, so an entry in a wrong place fails.
 */
static uint64_t entry_checksum(const struct vector_layout *layout, uint32_t slot,
                               uint64_t operation, const void *values) {
    uint8_t key[ROW_VECTOR_KEY + 8];
    row_keys_vector(key, layout->number, slot);
    row_put_u64(key + ROW_VECTOR_KEY, operation);
    return row_keys_checksum(key, sizeof(key), values, layout->dimension * sizeof(float));
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static int find_block(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout, uint32_t block,
                      MDB_val *value) {
    uint8_t bytes[ROW_VECTOR_KEY];
    row_keys_vector(bytes, layout->number, block);
    MDB_val key = {sizeof(bytes), bytes};
    return mdb_get(txn, dbi, &key, value);
}

static int find_cached(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout,
                       uint32_t block, struct place_cache *cache, MDB_val *value) {
    if (cache && place_cache_find(cache, PLACE_BLOCKS, layout->number, block, value))
        return 0;
    int code = find_block(txn, dbi, layout, block, value);
    if (cache && code == 0)
        place_cache_put(cache, PLACE_BLOCKS, layout->number, block, value);
    return code;
}

/* The slot's entry, unchecked. */
static enum status find_entry(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout,
                              uint32_t slot, struct place_cache *cache, const uint8_t **entry,
                              struct error *error) {
    MDB_val value;
    int code = find_cached(txn, dbi, layout, slot / layout->capacity, cache, &value);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_env_fail(error, code, "read a vector");
    size_t offset = (size_t)(slot % layout->capacity) * layout->stride;
    if (code == MDB_NOTFOUND || value.mv_size < offset + layout->stride)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a vector is missing");
    *entry = (const uint8_t *)value.mv_data + offset;
    return STATUS_OK;
}

enum status vector_blocks_born(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout,
                               uint32_t slot, struct place_cache *cache, uint64_t *born,
                               struct error *error) {
    const uint8_t *entry = NULL;
    enum status status = find_entry(txn, dbi, layout, slot, cache, &entry, error);
    if (entry)
        *born = row_get_u64(entry);
    return status;
}

enum status vector_blocks_peek(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout,
                               uint32_t slot, struct place_cache *cache, const float **vector,
                               uint64_t *born, struct error *error) {
    const uint8_t *entry = NULL;
    enum status status = find_entry(txn, dbi, layout, slot, cache, &entry, error);
    if (!entry)
        return status;
    const uint8_t *numbers = entry + ROW_VECTOR_HEADER_BYTES;
    *born = row_get_u64(entry);
    if (*born == 0 || (uintptr_t)numbers % sizeof(float) != 0 ||
        row_get_u64(entry + 8) != entry_checksum(layout, slot, *born, numbers))
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a vector");
    *vector = (const float *)(const void *)numbers;
    return STATUS_OK;
}

enum status vector_blocks_read(MDB_txn *txn, MDB_dbi dbi, const struct vector_layout *layout,
                               uint32_t slot, uint64_t born, struct place_cache *cache,
                               const float **vector, struct error *error) {
    uint64_t found = 0;
    enum status status = vector_blocks_peek(txn, dbi, layout, slot, cache, vector, &found, error);
    if (status == STATUS_OK && found != born)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: an old vector");
    return status;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

void vector_blocks_batch_free(struct vector_batch *batch) {
    free(batch->writes);
    free(batch->block);
    *batch = (struct vector_batch){0};
}

enum status vector_blocks_add(struct vector_batch *batch, const struct vector_write *write,
                              struct error *error) {
    if (batch->count == batch->capacity) {
        size_t capacity = batch->capacity > 0 ? batch->capacity * 2 : BATCH_FIRST;
        struct vector_write *grown = realloc(batch->writes, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, STATUS_NO_MEMORY, "out of memory");
        batch->writes = grown;
        batch->capacity = capacity;
    }
    batch->writes[batch->count++] = *write;
    return STATUS_OK;
}

static int by_place(const void *left, const void *right) {
    const struct vector_write *a = left, *b = right;
    if (a->layout->number != b->layout->number)
        return a->layout->number < b->layout->number ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Bytes a block needs to hold the entries below `entries`, as whole pages of the environment, whose
 * size is the machine's that made it. */
static size_t block_bytes(const struct vector_layout *layout, uint32_t entries, MDB_txn *txn) {
    MDB_stat info;
    mdb_env_stat(mdb_txn_env(txn), &info);
    size_t bytes = (size_t)entries * layout->stride + PAGE_HEADER_BYTES;
    return (bytes + info.ms_psize - 1) / info.ms_psize * info.ms_psize - PAGE_HEADER_BYTES;
}

/* Copies the old block aside: the new row may take the very pages in which it lies. */
static enum status save_old(struct vector_batch *batch, const MDB_val *old, struct error *error) {
    if (old->mv_size > batch->block_bytes) {
        uint8_t *grown = realloc(batch->block, old->mv_size);
        if (!grown)
            return error_set(error, STATUS_NO_MEMORY, "out of memory");
        batch->block = grown;
        batch->block_bytes = old->mv_size;
    }
    memcpy(batch->block, old->mv_data, old->mv_size);
    return STATUS_OK;
}

/* Writes the entries writes[0..count), all of one block, last one highest. */
static enum status apply_block(struct vector_batch *batch, const struct vector_write *writes,
                               size_t count, MDB_txn *txn, MDB_dbi dbi, struct error *error) {
    const struct vector_layout *layout = writes[0].layout;
    uint32_t block = writes[0].slot / layout->capacity;
    MDB_val old = {0, NULL}, value;
    int code = find_block(txn, dbi, layout, block, &old);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_env_fail(error, code, "read a block of vectors");
    if (code == MDB_NOTFOUND)
        old.mv_size = 0;
    enum status status = old.mv_size > 0 ? save_old(batch, &old, error) : STATUS_OK;
    if (status != STATUS_OK)
        return status;

    uint8_t key_bytes[ROW_VECTOR_KEY];
    row_keys_vector(key_bytes, layout->number, block);
    MDB_val key = {sizeof(key_bytes), key_bytes};
    value.mv_size = block_bytes(layout, writes[count - 1].slot % layout->capacity + 1, txn);
    if (value.mv_size < old.mv_size)
        value.mv_size = old.mv_size;
    code = mdb_put(txn, dbi, &key, &value, MDB_RESERVE);
    if (code != 0)
        return lmdb_env_fail(error, code, "write a block of vectors");
    uint8_t *bytes = value.mv_data;
    if (old.mv_size > 0)
        memcpy(bytes, batch->block, old.mv_size);
    memset(bytes + old.mv_size, 0, value.mv_size - old.mv_size);
    for (size_t i = 0; i < count; i++) {
        uint8_t *entry = bytes + (size_t)(writes[i].slot % layout->capacity) * layout->stride;
        row_put_u64(entry, writes[i].born);
        row_put_u64(entry + 8,
                    entry_checksum(layout, writes[i].slot, writes[i].born, writes[i].values));
        memcpy(entry + ROW_VECTOR_HEADER_BYTES, writes[i].values,
               layout->dimension * sizeof(float));
    }
    return STATUS_OK;
}

enum status vector_blocks_apply(struct vector_batch *batch, MDB_txn *txn, MDB_dbi dbi,
                                struct error *error) {
    enum status status = STATUS_OK;
    if (batch->count > 1)
        qsort(batch->writes, batch->count, sizeof(*batch->writes), by_place);
    for (size_t first = 0, end; first < batch->count && status == STATUS_OK; first = end) {
        const struct vector_write *head = &batch->writes[first];
        uint32_t block = head->slot / head->layout->capacity;
        for (end = first + 1; end < batch->count; end++)
            if (batch->writes[end].layout->number != head->layout->number ||
                batch->writes[end].slot / head->layout->capacity != block)
                break;
        status = apply_block(batch, head, end - first, txn, dbi, error);
    }
    batch->count = 0;
    return status;
}
