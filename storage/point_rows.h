/* point_rows.h -- the two databases of points: id -> slot, and slot -> row.
 *
 * Each id that exists has exactly one row, and the row names the id: both are checked when a point
 * is looked up by id. What is read borrows from the transaction until its next write. Not found is
 * told by a flag, so that a status is always a failure. One transaction, one thread.
 */
#ifndef POINT_ROWS_H
#define POINT_ROWS_H

#include "storage/place_cache.h"
#include "storage/row_keys.h"

#include <lmdb.h>
#include <stdbool.h>

/* The databases of one collection, in the order in which they are opened. */
enum collection_dbi {
    COLLECTION_DBI_META,
    COLLECTION_DBI_POINTS,
    COLLECTION_DBI_ROWS,
    COLLECTION_DBI_VECTORS,
    COLLECTION_DBI_POSTINGS,
    COLLECTION_DBI_COUNT
};

/* A transaction and where its databases are. */
struct point_rows {
    MDB_txn *txn;
    const MDB_dbi *dbis; /* by enum collection_dbi; borrowed */
};

MUST_CHECK enum status point_rows_find(const struct point_rows *rows, const struct point_id *id,
                                       uint32_t *slot, bool *is_found, struct error *error);
MUST_CHECK enum status point_rows_get(const struct point_rows *rows, uint32_t slot,
                                      struct stored_row *row, bool *is_found, struct error *error);

/* The same of a slot that lives as of this transaction; no row is STATUS_CORRUPT. */
MUST_CHECK enum status point_rows_get_live(const struct point_rows *rows, uint32_t slot,
                                           struct stored_row *row, struct error *error);

/* The record of a slot, unchecked, for row_keys_read_row; mv_data is NULL if there is none. The
 * memory is asked for it, so that it comes while the records of other slots are looked for. cache:
 * of the same snapshot, or NULL. */
MUST_CHECK enum status point_rows_locate(const struct point_rows *rows, uint32_t slot,
                                         struct place_cache *cache, MDB_val *value,
                                         struct error *error);

/* find and get in one; an entry without its row is STATUS_CORRUPT. */
MUST_CHECK enum status point_rows_get_by_id(const struct point_rows *rows,
                                            const struct point_id *id, struct stored_row *row,
                                            bool *is_found, struct error *error);

/* Writes the row, and the entry of its id if with_entry. What row borrows must not lie in this
 * transaction's pages. */
MUST_CHECK enum status point_rows_put(const struct point_rows *rows, const struct stored_row *row,
                                      bool with_entry, struct error *error);
MUST_CHECK enum status point_rows_remove_row(const struct point_rows *rows, uint32_t slot,
                                             struct error *error);
MUST_CHECK enum status point_rows_remove_entry(const struct point_rows *rows,
                                               const struct point_id *id, struct error *error);

MUST_CHECK enum status point_rows_read_state(const struct point_rows *rows,
                                             struct collection_state *state, bool *is_found,
                                             struct error *error);
MUST_CHECK enum status point_rows_write_state(const struct point_rows *rows,
                                              const struct collection_state *state,
                                              struct error *error);

/* Says "No point with id N found". */
enum status point_rows_not_found(struct error *error, const struct point_id *id);

#endif
