/* collection.h -- one collection: its configuration, its readers and its write queue. */
#ifndef COLLECTION_H
#define COLLECTION_H

#include "storage/collection_config.h"
#include "storage/operation.h"
#include "storage/stage_clock.h"
#include "storage/storage.h"

#include <stdatomic.h>

struct collection;

const char *collection_name(const struct collection *collection);

/* ---- Writing ----------------------------------------------------------------------------------
 */

enum {
    WRITE_QUEUE_JOBS_MAX = 1024, /* of one collection */
    WRITE_QUEUE_BYTES_MAX = 256 * 1024 * 1024,
    WRITE_GROUP_JOBS_MAX = 64, /* committed together */
    WRITE_GROUP_BYTES_MAX = 16 * 1024 * 1024,
};

/* One write: one or more operations that are committed together or not at all. Memory of the caller
 * until done returns. */
struct write_job {
    const struct operation *operations;
    size_t operations_count;
    size_t bytes;      /* what it weighs in the queue: about the request's body */
    bool is_unwatched; /* nobody hears if it fails: what is bound to is refused at once */
    void *context;     /* the caller's */
    void (*done)(struct write_job *job); /* writer thread; exactly once */
    enum status status;
    struct error error;
    uint64_t operation_number; /* the last operation's; set also when the job changed nothing */
    struct write_job *next;    /* storage's */
};

/* Queues the job, or fails at once (STATUS_UNAVAILABLE, and one that is unwatched as a writer would
 * fail it; done is not called). When done is called with STATUS_OK the write is on disk and every
 * reader that begins now sees it. Any thread but the loop; holds the collection for as long as it
 * needs. */
MUST_CHECK enum status collection_submit(struct collection *collection, struct write_job *job,
                                         struct error *error);

/* Checks what needs only the configuration: names of vectors exist, dimensions agree, numbers are
 * finite; normalises cosine vectors (in place: values must be writable memory of the arena). Read
 * worker, before collection_submit. */
MUST_CHECK enum status collection_prepare(struct collection *collection,
                                          struct operation *operation, struct error *error);

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* One snapshot of one collection, for one request on one worker. */
struct reader;

struct reader_options {
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    const atomic_bool *cancelled;
    struct arena *arena;        /* the request's */
    struct stage_clock *stages; /* the request's; may be NULL */
};

MUST_CHECK enum status reader_begin(struct collection *collection,
                                    const struct reader_options *options, struct reader **reader,
                                    struct error *error);
/* What the reader lent (payload texts, vectors) is gone afterwards. Accepts NULL. */
void reader_end(struct reader *reader);

/* The configuration as of this snapshot; valid until reader_end. */
const struct collection_config *reader_config(const struct reader *reader);

/* Says what the reader's thread does from here on, for the request's clock. */
void reader_enter_stage(const struct reader *reader, enum stage stage);

/* To be called after each row that is looked for or encoded, with the bytes that were written for
 * it: now and then looks whether it is time to stop, STATUS_TIMEOUT or _CANCELLED. */
MUST_CHECK enum status reader_step(struct reader *reader, size_t bytes, struct error *error);

/* A point as a reader sees it. Payload and vectors are borrowed from the map until reader_end. */
struct point_row {
    struct point_id id;
    uint64_t version; /* the operation that last changed the point */
    uint32_t slot;
    const char *payload; /* "{}" if it has none */
    size_t payload_length;
};

/* The point's vector, dimension numbers, or NULL if it has none of this name, or if it could not be
 * read: reader_failure tells the two apart. */
const float *reader_vector(struct reader *reader, const struct point_row *row,
                           const struct vector_config *vector);

/* The first failure of reader_vector (damaged data); STATUS_OK if there was none. To be asked
 * before an answer with vectors is sent. */
MUST_CHECK enum status reader_failure(const struct reader *reader, struct error *error);

/* STATUS_NOT_FOUND without a message if there is no such point. */
MUST_CHECK enum status reader_point(struct reader *reader, const struct point_id *id,
                                    struct point_row *row, struct error *error);

struct point_page {
    struct point_row *rows;
    size_t count;
    bool has_next;
    struct point_id next; /* first id of the next page */
};

/* Up to limit points in id order from `from` (NULL: the first), those that match. The page is full
 * while enough points match. Memory follows the points found, not the limit. */
MUST_CHECK enum status reader_scroll(struct reader *reader, const struct point_id *from,
                                     size_t limit, const struct filter *filter,
                                     struct point_page *page, struct error *error);

MUST_CHECK enum status reader_count(struct reader *reader, const struct filter *filter,
                                    uint64_t *count, struct error *error);

struct query {
    const struct vector_config *vector; /* of reader_config */
    const float
        *values; /* dimension numbers, normalised for cosine; NULL: the vector of point id */
    const struct point_id *id;
    const struct filter *filter;
    uint64_t limit, offset; /* limit >= 1; the sum saturates */
    uint32_t ef;            /* 0: default */
    bool exact, indexed_only;
    bool has_threshold;
    float threshold; /* a score: cosine and dot keep > t, Euclid and Manhattan < t */
};

struct query_hit {
    struct point_row row;
    float score; /* as the API shows it */
};

struct query_hits {
    struct query_hit *hits; /* best first, equal scores by id */
    size_t count;
};

/* STATUS_NOT_FOUND: "No point with id N found", or the point lacks the vector; the point asked by
 * id is left out of the hits. */
MUST_CHECK enum status reader_query(struct reader *reader, const struct query *query,
                                    struct query_hits *hits, struct error *error);

enum {
    READER_TOGETHER_MAX = 16 /* queries of one reader_query_batch */
};

/* Several queries at once: hits[i] are those of reader_query for queries[i], or the call fails as
 * one of them would. Those for which a scan of the same slots is the way share it, so that together
 * they take less than one after the other. */
MUST_CHECK enum status reader_query_batch(struct reader *reader, const struct query *queries,
                                          size_t count, struct query_hits *hits,
                                          struct error *error);

/* ---- Description ------------------------------------------------------------------------------
 */

struct collection_status {
    uint64_t points_count, indexed_vectors_count, waiting_count, queue_length;
    bool is_damaged; /* read-only, or an index cannot be built; reason says why */
    char reason[256];
};
void collection_status(struct collection *collection, struct collection_status *status);

/* Of the graph of the vector with this number, which the collection must have. */
struct vector_index_info collection_index_info(struct collection *collection, uint16_t number);

/* The payload indexes and how many points each covers, in the arena of the reader; their params are
 * lent until reader_end. */
struct payload_index_status {
    struct payload_index_field field;
    uint64_t points;
};
MUST_CHECK enum status reader_payload_indexes(struct reader *reader,
                                              const struct payload_index_status **indexes,
                                              size_t *count, struct error *error);

#endif
