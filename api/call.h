/* call.h -- what handlers share: the envelope of answers, reading a collection, submitting writes.
 *
 * Internal to api. All memory is the call's arena.
 */
#ifndef CALL_H
#define CALL_H

#include "api/api.h"
#include "storage/collection.h"

#define CALL_JSON "application/json"
#define CALL_TEXT "text/plain; charset=utf-8"

struct api {
    struct api_options options;
    uint64_t started_s; /* CLOCK_REALTIME, seconds */
    uint64_t id;        /* of this process, for telemetry */
};

/* Nanoseconds since the call began, for "time" in the envelope. */
uint64_t call_ns(const struct api_call *call);

/* The name of the collection that the path names. */
const char *call_collection_name(const struct api_call *call);

/* ---- Answers --------------------------------------------------------------------------------- */

/* Begins {"result":, after which exactly one value is written. */
void call_begin_result(struct api_call *call, struct json_writer *writer);

/* Ends the envelope and makes it the answer; does not call done. */
MUST_CHECK enum status call_end_result(struct api_call *call, struct json_writer *writer);

/* Makes the text of a writer the answer, without an envelope. */
MUST_CHECK enum status call_end_plain(struct api_call *call, struct json_writer *writer,
                                      const char *content_type);

/* Answers: hands the call back to the server. It may be freed when this returns. */
enum status call_done(struct api_call *call);

/* ---- Reading --------------------------------------------------------------------------------- */

/* One snapshot of the collection that the path names, while a result is written from it. */
struct call_snapshot {
    struct collection *collection;
    struct reader *reader;
};

/* Writes the result of a read. What the reader lends may be written, but not kept. */
typedef enum status call_read_fn(struct api_call *call, const struct call_snapshot *snapshot,
                                 const void *request, struct json_writer *writer);

/* Opens the collection and a snapshot of it, lets write_result encode the result, ends the snapshot
 * and answers. The one place where read transactions begin and end. */
MUST_CHECK enum status call_read(struct api_call *call, const void *request,
                                 call_read_fn *write_result);

/* ---- Writing --------------------------------------------------------------------------------- */

/* Prepares and submits the operations as one job: they are committed together or not at all. The
 * answer is an update result, or a list of as many as there are operations. */
MUST_CHECK enum status call_write(struct api_call *call, struct operation *operations, size_t count,
                                  bool answers_list);

/* Submits a change of the catalogue and answers true, or whether the collection existed. The
 * caller has set kind, config, change and context. */
MUST_CHECK enum status call_change_catalogue(struct api_call *call, struct catalogue_job *job);

#endif
