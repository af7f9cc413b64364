/* field_table.h -- the payload indexes of a collection as of one transaction.
 *
 * One record a field in the meta database says its number, type, path and state. A field goes
 * through building -> ready -> dropping; only ready ones may answer, and a write maintains the
 * ready ones and those being built whose next_slot it lies below.
 *
 * Memory: the arena given to load; the schemas' texts, whose size is the clients' choice, are lent
 * from the map. Threads: that of the transaction.
 */
#ifndef FIELD_TABLE_H
#define FIELD_TABLE_H

#include "storage/payload_index.h"
#include "storage/point_rows.h"
#include "storage/postings.h"

struct field_table {
    struct payload_index_field *fields; /* the ready ones first, then those being built */
    size_t ready_count, count;
    uint16_t *dropping; /* numbers of the fields whose postings are being deleted */
    size_t dropping_count;
};

/* What it takes of the arena is bounded by PAYLOAD_INDEXES_MAX and PAYLOAD_PATH_BYTES_MAX. params
 * are lent until the transaction ends or writes. */
MUST_CHECK enum status field_table_load(struct field_table *table, const struct point_rows *rows,
                                        struct arena *arena, struct error *error);

/* Copies what load lent: for a transaction that writes. On failure the table is not to be used. */
MUST_CHECK enum status field_table_keep_params(struct field_table *table, struct arena *arena,
                                               struct error *error);

/* The field on this path, or NULL. */
const struct payload_index_field *field_table_find(const struct field_table *table,
                                                   const char *path, size_t length);

MUST_CHECK enum status field_table_put(const struct point_rows *rows,
                                       const struct payload_index_field *field,
                                       enum field_state state, struct error *error);
MUST_CHECK enum status field_table_remove(const struct point_rows *rows, uint16_t number,
                                          struct error *error);

/* Adds or removes the postings of a slot's payload under all fields that cover the slot. */
MUST_CHECK enum status field_table_collect(const struct field_table *table,
                                           struct posting_batch *batch,
                                           const struct stored_row *row, bool add,
                                           struct error *error);

#endif
