/* vector_blocks.h -- vectors in LMDB, packed: one row holds as many slots as fit into 64 KiB.
 *
 * A value of more than about 2,000 bytes takes whole pages, so that single vectors would waste up
 * to half of the space. A block is an array of entries, one a slot, each with the operation that
 * wrote it and a checksum; an entry of operation 0 is empty. Layout: docs/FORMAT.md.
 *
 * Reading lends from the map until the transaction ends.
 * Writing is collected and applied block by block. One transaction, one thread.
 */
#ifndef VECTOR_BLOCKS_H
#define VECTOR_BLOCKS_H

#include "index/status.h"
#include "storage/place_cache.h"

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

/* How the vectors of one name lie in blocks. */
struct vector_layout {
    uint16_t number;    /* of the vector name, in keys */
    uint32_t dimension; /* numbers a vector */
    uint32_t stride;    /* bytes an entry */
    uint32_t capacity;  /* entries a block */
};

struct vector_layout vector_blocks_layout(uint16_t number, uint32_t dimension);

/* Lends the slot's vector. born is the operation that the row says gave birth to the slot; an entry
 * of another operation, a wrong checksum or a missing block is STATUS_CORRUPT. cache may be NULL.
 */
MUST_CHECK enum status vector_blocks_read(MDB_txn *txn, MDB_dbi dbi,
                                          const struct vector_layout *layout, uint32_t slot,
                                          uint64_t born, struct place_cache *cache,
                                          const float **vector, struct error *error);

/* The same without a row: *born tells which life of the slot the entry belongs to. For searches,
 * which look at many slots and fetch the rows of a few; those compare. */
MUST_CHECK enum status vector_blocks_peek(MDB_txn *txn, MDB_dbi dbi,
                                          const struct vector_layout *layout, uint32_t slot,
                                          struct place_cache *cache, const float **vector,
                                          uint64_t *born, struct error *error);

/* Which life of the slot its entry belongs to, without its numbers and so without the checksum,
 * which covers both: for who has been lent the vector in this transaction. */
MUST_CHECK enum status vector_blocks_born(MDB_txn *txn, MDB_dbi dbi,
                                          const struct vector_layout *layout, uint32_t slot,
                                          struct place_cache *cache, uint64_t *born,
                                          struct error *error);

/* ---- Writing ----------------------------------------------------------------------------------
 */

struct vector_write {
    const struct vector_layout *layout;
    uint32_t slot;
    uint64_t born;
    const float *values; /* borrowed until apply; not in this transaction's pages */
};

struct vector_batch {
    struct vector_write *writes; /* malloc'ed; kept from one batch to the next */
    size_t count, capacity;
    uint8_t *block; /* scratch for the old content of one block */
    size_t block_bytes;
};

void vector_blocks_batch_free(struct vector_batch *batch);

MUST_CHECK enum status vector_blocks_add(struct vector_batch *batch,
                                         const struct vector_write *write, struct error *error);

/* Writes each block that is concerned once; the batch is empty afterwards, also on failure. */
MUST_CHECK enum status vector_blocks_apply(struct vector_batch *batch, MDB_txn *txn, MDB_dbi dbi,
                                           struct error *error);

#endif
