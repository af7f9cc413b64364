/* postings.h -- sets of slots in LMDB: which slots hold a value.
 *
 * A posting is (field, class, value bytes, slot). Postings that differ only in the low 16 bits of
 * the slot share one row, a chunk. This header is for storage only: payload_index.h is what other
 * layers see of indexes. Layout of keys and chunks: docs/FORMAT.md.
 *
 * Memory: a batch lies in the caller's arena. Nothing here calls malloc.
 * Threads: a batch and a transaction belong to one thread.
 * Errors: STATUS_MAP_FULL when the map is full (the transaction must be aborted), STATUS_CORRUPT
 * for a chunk that fails its checksum or its form, STATUS_NO_MEMORY when the arena is full.
 */
#ifndef POSTINGS_H
#define POSTINGS_H

#include "index/status.h"
#include "storage/arena.h"
#include "storage/payload_index.h"
#include "storage/payload_value.h"
#include "storage/posting_chunk.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POSTING_FIELD_LIVE = 0,   /* the field number of "all live slots" */
    POSTING_KEY_MAX = 400,    /* bytes; longer values are hashed */
    POSTING_KEY_OVERHEAD = 5, /* field u16, class u8 before the value; chunk u16 after it */
    POSTING_VALUE_MAX = POSTING_KEY_MAX - POSTING_KEY_OVERHEAD,
};

/* What a posting says about its slot; the numbers are on disk. A class is ordered by its value
 * bytes. MARK classes have none. */
enum posting_class {
    POSTING_LIVE = 0,         /* MARK; only under POSTING_FIELD_LIVE */
    POSTING_TYPED = 1,        /* MARK; has at least one posting of the field's value class */
    POSTING_OTHER = 2,        /* MARK; has a non-null element that no value class took */
    POSTING_MULTIPLE = 3,     /* MARK; has two or more elements at the path */
    POSTING_HAS_VALUE = 4,    /* MARK; has a value that is neither null nor [] */
    POSTING_HAS_NULL = 5,     /* MARK; has null or an array that holds null */
    POSTING_STRING = 16,      /* bytes, 00 written as 00 FF, ended by 00 00 */
    POSTING_LONG_STRING = 17, /* 16 bytes: XXH3-128 of a string too long for a key */
    POSTING_NUMBER = 18,      /* key of payload_number, then 1 if written as an integer, else 0 */
    POSTING_BOOL = 19,        /* 0 or 1 */
    POSTING_DATETIME = 20,    /* key of payload_number of the microseconds since 1970 */
};

/* ---- Writing -------------------------------------------------------------------------------- */

struct posting_edit; /* one posting to add or to remove */

/* Edits of postings, collected in any order and applied together. */
struct posting_batch {
    struct arena *arena; /* borrowed */
    MDB_dbi dbi;
    struct posting_edit *edits; /* in the order they were made */
    size_t count, capacity;
};

void posting_batch_init(struct posting_batch *batch, struct arena *arena, MDB_dbi dbi);

/* Adds or removes one posting. The last of several edits of one posting counts; adding what is
 * there and removing what is not are no errors. value is copied. */
MUST_CHECK enum status posting_batch_edit(struct posting_batch *batch, uint16_t field,
                                          enum posting_class class, const void *value,
                                          size_t length, uint32_t slot, bool add,
                                          struct error *error);

/* A slot came to life or died. */
MUST_CHECK enum status posting_batch_live(struct posting_batch *batch, uint32_t slot, bool add,
                                          struct error *error);

/* Sorts the edits and changes each chunk once; the batch is empty afterwards, also on failure.
 * After a failure the transaction must be aborted. */
MUST_CHECK enum status posting_batch_apply(struct posting_batch *batch, MDB_txn *txn,
                                           struct error *error);

/* Compares instead of applying: STATUS_CORRUPT if one of the postings that the batch would add is
 * not there. *total: how many it has, each counted once. The batch is empty afterwards. To verify a
 * field, collect all live payloads (in parts of whole chunks' slots), add up the totals and compare
 * with postings_count(): equal means that nothing is missing and nothing is left over. */
MUST_CHECK enum status posting_batch_verify(struct posting_batch *batch, MDB_txn *txn,
                                            uint64_t *total, struct error *error);

/* ---- Payload indexes (payload_index.c) ------------------------------------------------------ */

/* The class of the values that an index of this type posts. */
enum posting_class payload_index_class(enum payload_index_type type);

/* Adds or removes all postings that the payload of a slot has under these fields. What is
 * removed must be the payload that was added. Fields are taken whole whatever is_ready says:
 * the caller leaves out a field that is being built and has not reached the slot. */
MUST_CHECK enum status payload_index_collect(struct posting_batch *batch,
                                             const struct payload_index_field *fields, size_t count,
                                             uint32_t slot, const char *payload, size_t length,
                                             bool add, struct error *error);

/* Deletes up to deletions_max chunks of a field (of any class); *done when none is left. */
MUST_CHECK enum status payload_index_drop_step(MDB_txn *txn, MDB_dbi dbi, uint16_t field,
                                               size_t deletions_max, bool *done,
                                               struct error *error);

/* How many points the index covers: those with a value of the index's type. */
MUST_CHECK enum status payload_index_count(MDB_txn *txn, MDB_dbi dbi, uint16_t field,
                                           uint64_t *points, struct error *error);

/* ---- Reading -------------------------------------------------------------------------------- */

/* All postings of a field, counted; every chunk is checked on the way. */
MUST_CHECK enum status postings_count(MDB_txn *txn, MDB_dbi dbi, uint16_t field, uint64_t *count,
                                      struct error *error);

/* Whether a slot is posted as alive. */
MUST_CHECK enum status postings_has_live(MDB_txn *txn, MDB_dbi dbi, uint32_t slot, bool *is_live,
                                         struct error *error);

/* Values of one class, from low to high in byte order, both included. */
struct posting_range {
    uint16_t field;
    enum posting_class class;
    const uint8_t *low, *high; /* borrowed; equal for a single value; MARK classes: length 0 */
    size_t low_length, high_length;
};

/* A walk over chunks in key order: values ascending, and the chunks of one value ascending. */
struct posting_walk {
    MDB_cursor *cursor;
    struct posting_range range;
    bool is_begun;      /* the cursor stands on a chunk of the range */
    MDB_val key, value; /* of the present chunk */
    uint32_t number;    /* of the present chunk: slot >> POSTING_CHUNK_BITS */
    uint32_t count;     /* slots of the present chunk, as its header has it */
};

MUST_CHECK enum status posting_walk_begin(struct posting_walk *walk, MDB_txn *txn, MDB_dbi dbi,
                                          struct error *error);
void posting_walk_end(struct posting_walk *walk); /* also of a walk that is all zero */

/* Starts over with another range, before its first chunk. */
void posting_walk_seek(struct posting_walk *walk, const struct posting_range *range);

/* Moves to the next chunk; *more is false at the end of the range. Does not touch its slots. */
MUST_CHECK enum status posting_walk_next(struct posting_walk *walk, bool *more,
                                         struct error *error);

/* Checks the present chunk and gives its slots, valid until the transaction ends or writes. */
MUST_CHECK enum status posting_walk_open(const struct posting_walk *walk,
                                         struct posting_chunk *chunk, struct error *error);

/* ---- Values as bytes ------------------------------------------------------------------------ */

enum {
    POSTING_NUMBER_BYTES = 11, /* also of a date */
    POSTING_LONG_STRING_BYTES = 16,
};

/* Class STRING or LONG_STRING, and the value's bytes, by the decoded string. */
enum posting_class posting_string(const char *string, size_t length,
                                  uint8_t bytes[POSTING_VALUE_MAX], size_t *bytes_length);

void posting_number(const struct payload_number *number, uint8_t bytes[POSTING_NUMBER_BYTES]);

#endif
