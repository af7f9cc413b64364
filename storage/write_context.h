/* write_context.h -- what a writer thread has in hand while it runs one group of jobs.
 *
 * Memory: one a writer thread; its arrays are kept from group to group. The three arenas differ in
 * how long their content lives: a point, a batch of vectors, an operation.
 */
#ifndef WRITE_CONTEXT_H
#define WRITE_CONTEXT_H

#include "storage/change_set.h"
#include "storage/collection_internal.h"
#include "storage/field_table.h"
#include "storage/postings.h"

enum {
    WRITE_ARENA_MAX = 1 << 30,       /* bytes each arena may take */
    WRITE_POSTINGS_MAX = 1 << 16,    /* edits collected before they are applied */
    WRITE_VECTORS_MAX = 4096,        /* vectors collected before they are applied */
    WRITE_EDIT_ARENA_KEPT = 1 << 20, /* the arena of points is emptied beyond this */
    WRITE_MOVED_KEPT = 1 << 24,      /* ... and moved vectors are applied */
};

struct write_context {
    struct collection *collection;
    struct point_rows rows;        /* the job's transaction */
    struct collection_state state; /* as of that transaction */
    uint64_t operation;            /* number of the one that is being applied */
    struct field_table fields;
    struct arena fields_arena;
    struct change_set changes;
    struct vector_batch vectors;
    struct posting_batch postings;
    struct arena postings_arena;
    struct arena moved;              /* until collected vectors are applied: copies of some */
    struct arena scratch;            /* until the operation ends */
    struct arena of_point;           /* until the point is written */
    struct collection_config config; /* of the collection, as of the group's begin */
    struct shared_config *shared;    /* keeps it */
    bool is_memory_low;              /* no slot may be taken that was not in use before */
    MDB_txn *committed;              /* for publishing, from before the commit on; NULL: none */
    bool has_field_job;              /* a job of the group created or dropped an index */
    bool is_step_done;               /* a step of building or dropping an index ran in the group */
    struct error step_error;         /* ... or failed: its status tells */
};

void write_context_init(struct write_context *context);
void write_context_free(struct write_context *context);

/* Begins a group on a collection, and forgets it again. */
void write_context_begin(struct write_context *context, struct collection *collection);
void write_context_end(struct write_context *context);

/* Reads the payload indexes anew: at the start of a group, and after they or a job changed. */
MUST_CHECK enum status write_context_load_fields(struct write_context *context,
                                                 struct error *error);

/* Applies the collected postings and vectors to the transaction. */
MUST_CHECK enum status write_context_flush(struct write_context *context, struct error *error);

/* Flushes if much has been collected, and empties the arena of points. To call after each point. */
MUST_CHECK enum status write_context_after_point(struct write_context *context,
                                                 struct error *error);

/* Forgets what has been collected: the job failed. */
void write_context_drop(struct write_context *context);

#endif
