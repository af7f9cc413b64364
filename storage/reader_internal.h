/* reader_internal.h -- the inside of a reader; for storage's own files only. */
#ifndef READER_INTERNAL_H
#define READER_INTERNAL_H

#include "storage/collection_internal.h"
#include "storage/field_table.h"
#include "storage/filter_plan.h"

enum {
    READER_CHECK_ROWS = 256,         /* rows between two looks at the clock */
    READER_CHECK_BYTES = 256 * 1024, /* or so much that was written for them: 1 to 3 ms */
};

struct reader {
    struct collection *collection; /* holds a reference */
    struct reader_options options;
    struct point_rows rows;
    struct collection_state state; /* as of the snapshot */
    struct shared_config *config;
    struct reader_place *place;
    struct place_cache *cache; /* lent; NULL until it is asked for, or without memory */
    struct field_table fields; /* read when the first filter comes */
    bool has_fields;
    enum status failure;     /* of reader_vector */
    unsigned rows_unchecked; /* since reader_step() looked at the clock */
    size_t bytes_unchecked;
};

/* STATUS_TIMEOUT or _CANCELLED if it is time to stop. */
MUST_CHECK enum status reader_check(const struct reader *reader, struct error *error);

/* The row of a slot as the API sees it. */
struct point_row reader_point_row(const struct stored_row *row);

/* Plans a filter. verifications: see plan_source. */
MUST_CHECK enum status reader_plan(struct reader *reader, const struct filter *filter,
                                   uint32_t verifications, struct filter_plan *plan,
                                   struct error *error);

/* Reads the row of a slot that the plan proposed, and asks the filter unless the plan is exact.
 * filter may be NULL. A slot without a row is STATUS_CORRUPT. */
MUST_CHECK enum status reader_match(struct reader *reader, const struct filter *filter,
                                    bool is_exact, uint32_t slot, struct stored_row *row,
                                    bool *matches, struct error *error);

/* Where vectors and rows lie; lent until the reader ends. NULL: no memory for it, which does not
 * matter. */
struct place_cache *reader_cache(struct reader *reader);

/* Lends the vector of a row. */
MUST_CHECK enum status reader_read_vector(struct reader *reader,
                                          const struct collection_vector *vector,
                                          const struct stored_row *row, const float **values,
                                          struct error *error);

#endif
