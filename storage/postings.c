#include "storage/postings.h"

#include "storage/lmdb_env.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    KEY_PREFIX = 3, /* field and class */
    KEY_SUFFIX = 2, /* number of the chunk */
    EDITS_FIRST = 256,
    EDITS_MAX = 1 << 26, /* of one batch: over a gigabyte of keys */
};
static_assert(KEY_PREFIX + KEY_SUFFIX == POSTING_KEY_OVERHEAD, "the parts of a key");

struct posting_edit {
    const uint8_t *key;
    uint32_t order; /* of edits of one posting, the last counts */
    uint16_t key_length;
    uint16_t slot; /* low 16 bits */
    bool add;
};

static void put_u16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint16_t get_u16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

static enum status corrupt(const MDB_val *key, struct error *error) {
    const uint8_t *bytes = key->mv_data;
    if (key->mv_size < KEY_PREFIX)
        return error_set(error, STATUS_CORRUPT, "a payload index holds a damaged key");
    return error_set(error, STATUS_CORRUPT, "payload index %u holds a damaged chunk of class %u",
                     get_u16(bytes), bytes[2]);
}

/* ---- Values as bytes ------------------------------------------------------------------------ */

enum posting_class posting_string(const char *string, size_t length,
                                  uint8_t bytes[POSTING_VALUE_MAX], size_t *bytes_length) {
    size_t used = 0, i = 0;
    for (; i < length && used + 4 <= POSTING_VALUE_MAX; i++) {
        bytes[used++] = (uint8_t)string[i];
        if (string[i] == '\0')
            bytes[used++] = 0xff; /* so that no string's bytes begin another's */
    }
    if (i == length) {
        bytes[used++] = 0;
        bytes[used++] = 0;
        *bytes_length = used;
        return POSTING_STRING;
    }
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(string, length));
    static_assert(sizeof(hash) == POSTING_LONG_STRING_BYTES, "all of the hash");
    memcpy(bytes, &hash, sizeof(hash));
    *bytes_length = sizeof(hash);
    return POSTING_LONG_STRING;
}

void posting_number(const struct payload_number *number, uint8_t bytes[POSTING_NUMBER_BYTES]) {
    memcpy(bytes, number->key, PAYLOAD_NUMBER_KEY);
    bytes[PAYLOAD_NUMBER_KEY] = number->is_integer;
}

/* ---- Batches -------------------------------------------------------------------------------- */

void posting_batch_init(struct posting_batch *batch, struct arena *arena, MDB_dbi dbi) {
    *batch = (struct posting_batch){.arena = arena, .dbi = dbi};
}

static bool make_room(struct posting_batch *batch) {
    if (batch->count < batch->capacity)
        return true;
    size_t capacity = batch->capacity ? batch->capacity * 2 : EDITS_FIRST;
    if (capacity > EDITS_MAX)
        return false;
    struct posting_edit *edits =
        batch->edits ? arena_grow(batch->arena, batch->edits, batch->capacity * sizeof(*edits),
                                  capacity * sizeof(*edits))
                     : arena_alloc(batch->arena, capacity * sizeof(*edits));
    if (!edits)
        return false;
    batch->edits = edits;
    batch->capacity = capacity;
    return true;
}

enum status posting_batch_edit(struct posting_batch *batch, uint16_t field,
                               enum posting_class class, const void *value, size_t length,
                               uint32_t slot, bool add, struct error *error) {
    assert(length <= POSTING_VALUE_MAX);
    size_t key_length = length + POSTING_KEY_OVERHEAD;
    uint8_t *key = make_room(batch) ? arena_alloc(batch->arena, key_length) : NULL;
    if (!key)
        return error_set(error, STATUS_NO_MEMORY, "out of memory for the postings of a write");
    put_u16(key, field);
    key[2] = (uint8_t) class;
    if (length)
        memcpy(key + KEY_PREFIX, value, length);
    put_u16(key + KEY_PREFIX + length, slot >> POSTING_CHUNK_BITS);
    batch->edits[batch->count] = (struct posting_edit){.key = key,
                                                       .order = (uint32_t)batch->count,
                                                       .key_length = (uint16_t)key_length,
                                                       .slot = (uint16_t)slot,
                                                       .add = add};
    batch->count++;
    return STATUS_OK;
}

enum status posting_batch_live(struct posting_batch *batch, uint32_t slot, bool add,
                               struct error *error) {
    return posting_batch_edit(batch, POSTING_FIELD_LIVE, POSTING_LIVE, NULL, 0, slot, add, error);
}

static int compare_keys(const struct posting_edit *a, const struct posting_edit *b) {
    size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, shorter);
    return order ? order : a->key_length - b->key_length;
}

static int compare_edits(const void *a, const void *b) {
    const struct posting_edit *left = a, *right = b;
    int order = compare_keys(left, right);
    if (order == 0)
        order = left->slot - right->slot;
    return order ? order : (left->order > right->order) - (left->order < right->order);
}

/* The edits of one chunk, sorted; of those of one slot only the last is left. */
struct chunk_edits {
    MDB_val key;
    struct posting_chunk_edit *edits; /* room for POSTING_CHUNK_SLOTS or all edits */
    size_t count;
};

/* Gathers the chunk that begins at edit `first`; returns where the next one begins. */
static size_t gather(const struct posting_batch *batch, size_t first, struct chunk_edits *chunk) {
    const struct posting_edit *edits = batch->edits;
    size_t i = first;
    /* LMDB takes keys as void *, and leaves them as they are. */
    chunk->key = (MDB_val){edits[first].key_length, (void *)(uintptr_t)edits[first].key};
    chunk->count = 0;
    for (; i < batch->count && compare_keys(&edits[first], &edits[i]) == 0; i++) {
        if (i > first && edits[i].slot == edits[i - 1].slot)
            chunk->count--;
        chunk->edits[chunk->count++] =
            (struct posting_chunk_edit){.slot = edits[i].slot, .add = edits[i].add};
    }
    return i;
}

/* What applying and verifying have in common: the chunk as stored, if there is one. */
static enum status find_chunk(MDB_cursor *cursor, MDB_val *key, struct posting_chunk *chunk,
                              bool *is_there, struct error *error) {
    MDB_val value;
    int code = mdb_cursor_get(cursor, key, &value, MDB_SET);
    *is_there = code == 0;
    if (code == MDB_NOTFOUND)
        return STATUS_OK;
    if (code != 0)
        return lmdb_env_fail(error, code, "read a payload index");
    if (!posting_chunk_open(key->mv_data, key->mv_size, value.mv_data, value.mv_size, chunk))
        return corrupt(key, error);
    return STATUS_OK;
}

static enum status apply_chunk(MDB_cursor *cursor, struct chunk_edits *edits,
                               struct posting_chunk_scratch *scratch, struct error *error) {
    struct posting_chunk chunk;
    bool is_there, changed;
    enum status status = find_chunk(cursor, &edits->key, &chunk, &is_there, error);
    if (status != STATUS_OK)
        return status;
    size_t length =
        posting_chunk_edit(edits->key.mv_data, edits->key.mv_size, is_there ? &chunk : NULL,
                           edits->edits, edits->count, scratch, &changed);
    if (!changed)
        return STATUS_OK;
    MDB_val value = {length, scratch->value};
    int code = length ? mdb_cursor_put(cursor, &edits->key, &value, 0) : mdb_cursor_del(cursor, 0);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "write a payload index");
}

static enum status verify_chunk(MDB_cursor *cursor, struct chunk_edits *edits, uint64_t *total,
                                struct error *error) {
    struct posting_chunk chunk;
    bool is_there;
    enum status status = find_chunk(cursor, &edits->key, &chunk, &is_there, error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < edits->count; i++) {
        if (!edits->edits[i].add)
            continue;
        if (!is_there || !posting_chunk_has(&chunk, edits->edits[i].slot))
            return error_set(error, STATUS_CORRUPT, "payload index %u lacks a posting",
                             get_u16(edits->key.mv_data));
        ++*total;
    }
    return STATUS_OK;
}

/* Calls apply_chunk or, with a total, verify_chunk for each chunk of the batch, which it empties.
 */
static enum status each_chunk(struct posting_batch *batch, MDB_txn *txn, uint64_t *total,
                              struct error *error) {
    MDB_cursor *cursor = NULL;
    struct chunk_edits chunk = {.count = 0};
    size_t room = batch->count < POSTING_CHUNK_SLOTS ? batch->count + 1 : POSTING_CHUNK_SLOTS;
    struct posting_chunk_scratch *scratch = arena_alloc(batch->arena, sizeof(*scratch));
    chunk.edits = arena_alloc(batch->arena, room * sizeof(*chunk.edits));
    enum status status = STATUS_OK;
    if (!scratch || !chunk.edits) {
        status = error_set(error, STATUS_NO_MEMORY, "out of memory for the postings of a write");
        goto out;
    }
    int code = mdb_cursor_open(txn, batch->dbi, &cursor);
    if (code != 0) {
        cursor = NULL;
        status = lmdb_env_fail(error, code, "open a payload index");
        goto out;
    }
    qsort(batch->edits, batch->count, sizeof(*batch->edits), compare_edits);
    for (size_t i = 0; i < batch->count && status == STATUS_OK;) {
        i = gather(batch, i, &chunk);
        status = total ? verify_chunk(cursor, &chunk, total, error)
                       : apply_chunk(cursor, &chunk, scratch, error);
    }
out:
    if (cursor)
        mdb_cursor_close(cursor);
    posting_batch_init(batch, batch->arena, batch->dbi);
    return status;
}

enum status posting_batch_apply(struct posting_batch *batch, MDB_txn *txn, struct error *error) {
    return batch->count ? each_chunk(batch, txn, NULL, error) : STATUS_OK;
}

enum status posting_batch_verify(struct posting_batch *batch, MDB_txn *txn, uint64_t *total,
                                 struct error *error) {
    *total = 0;
    return batch->count ? each_chunk(batch, txn, total, error) : STATUS_OK;
}

/* ---- Walks ---------------------------------------------------------------------------------- */

enum status posting_walk_begin(struct posting_walk *walk, MDB_txn *txn, MDB_dbi dbi,
                               struct error *error) {
    *walk = (struct posting_walk){.cursor = NULL};
    int code = mdb_cursor_open(txn, dbi, &walk->cursor);
    if (code == 0)
        return STATUS_OK;
    walk->cursor = NULL;
    return lmdb_env_fail(error, code, "open a payload index");
}

void posting_walk_end(struct posting_walk *walk) {
    if (walk->cursor)
        mdb_cursor_close(walk->cursor);
    walk->cursor = NULL;
}

void posting_walk_seek(struct posting_walk *walk, const struct posting_range *range) {
    walk->range = *range;
    walk->is_begun = false;
}

static int move_cursor(struct posting_walk *walk) {
    if (walk->is_begun)
        return mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_NEXT);
    const struct posting_range *range = &walk->range;
    uint8_t low[KEY_PREFIX + POSTING_VALUE_MAX];
    assert(range->low_length <= POSTING_VALUE_MAX);
    put_u16(low, range->field);
    low[2] = (uint8_t)range->class;
    if (range->low_length)
        memcpy(low + KEY_PREFIX, range->low, range->low_length);
    walk->key = (MDB_val){KEY_PREFIX + range->low_length, low};
    walk->is_begun = true;
    return mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_SET_RANGE);
}

/* True if the value bytes are at most the range's high. */
static bool is_within(const struct posting_range *range, const uint8_t *value, size_t length) {
    size_t shorter = length < range->high_length ? length : range->high_length;
    int order = shorter ? memcmp(value, range->high, shorter) : 0;
    return order ? order < 0 : length <= range->high_length;
}

enum status posting_walk_next(struct posting_walk *walk, bool *more, struct error *error) {
    const struct posting_range *range = &walk->range;
    *more = false;
    int code = move_cursor(walk);
    if (code == MDB_NOTFOUND)
        return STATUS_OK;
    if (code != 0)
        return lmdb_env_fail(error, code, "read a payload index");
    const uint8_t *key = walk->key.mv_data;
    if (walk->key.mv_size < POSTING_KEY_OVERHEAD)
        return corrupt(&walk->key, error);
    size_t length = walk->key.mv_size - POSTING_KEY_OVERHEAD;
    if (get_u16(key) != range->field || key[2] != range->class ||
        !is_within(range, key + KEY_PREFIX, length))
        return STATUS_OK;
    walk->number = get_u16(key + KEY_PREFIX + length);
    walk->count = posting_chunk_peek_count(walk->value.mv_data, walk->value.mv_size);
    if (walk->count == 0)
        return corrupt(&walk->key, error);
    *more = true;
    return STATUS_OK;
}

enum status posting_walk_open(const struct posting_walk *walk, struct posting_chunk *chunk,
                              struct error *error) {
    if (!posting_chunk_open(walk->key.mv_data, walk->key.mv_size, walk->value.mv_data,
                            walk->value.mv_size, chunk))
        return corrupt(&walk->key, error);
    return STATUS_OK;
}

enum status postings_count(MDB_txn *txn, MDB_dbi dbi, uint16_t field, uint64_t *count,
                           struct error *error) {
    MDB_cursor *cursor;
    uint8_t prefix[KEY_PREFIX];
    put_u16(prefix, field);
    *count = 0;
    int code = mdb_cursor_open(txn, dbi, &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "open a payload index");
    MDB_val key = {2, prefix}, value;
    enum status status = STATUS_OK;
    for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); code == 0;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        struct posting_chunk chunk;
        if (key.mv_size < POSTING_KEY_OVERHEAD) {
            status = corrupt(&key, error);
            break;
        }
        if (get_u16(key.mv_data) != field)
            break;
        if (!posting_chunk_open(key.mv_data, key.mv_size, value.mv_data, value.mv_size, &chunk) ||
            !posting_chunk_is_sound(&chunk)) {
            status = corrupt(&key, error);
            break;
        }
        *count += chunk.count;
    }
    mdb_cursor_close(cursor);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_env_fail(error, code, "read a payload index");
    return status;
}

enum status postings_has_live(MDB_txn *txn, MDB_dbi dbi, uint32_t slot, bool *is_live,
                              struct error *error) {
    uint8_t bytes[POSTING_KEY_OVERHEAD];
    put_u16(bytes, POSTING_FIELD_LIVE);
    bytes[2] = POSTING_LIVE;
    put_u16(bytes + KEY_PREFIX, slot >> POSTING_CHUNK_BITS);
    MDB_val key = {sizeof(bytes), bytes}, value;
    struct posting_chunk chunk;
    int code = mdb_get(txn, dbi, &key, &value);
    *is_live = false;
    if (code == MDB_NOTFOUND)
        return STATUS_OK;
    if (code != 0)
        return lmdb_env_fail(error, code, "read a payload index");
    if (!posting_chunk_open(key.mv_data, key.mv_size, value.mv_data, value.mv_size, &chunk))
        return corrupt(&key, error);
    *is_live = posting_chunk_has(&chunk, (uint16_t)slot);
    return STATUS_OK;
}
