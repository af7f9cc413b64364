#include "api/call.h"

#include "api/api_error.h"
#include "storage/log.h"

#include <assert.h>
#include <string.h>
#include <time.h>

static uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t call_ns(const struct api_call *call) {
    uint64_t now = monotonic_ns();
    return now > call->started_ns ? now - call->started_ns : 0;
}

const char *call_collection_name(const struct api_call *call) {
    assert(call->arguments.count > 0);
    return call->arguments.values[0];
}

static enum status no_memory(struct api_call *call) {
    return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
}

/* ---- Answers --------------------------------------------------------------------------------- */

void call_begin_result(struct api_call *call, struct json_writer *writer) {
    json_writer_init(writer, call->arena);
    json_write_open(writer, '{');
    json_write_key(writer, "result");
}

enum status call_end_result(struct api_call *call, struct json_writer *writer) {
    json_write_key_string(writer, "status", "ok");
    json_write_key(writer, "time");
    json_write_billionths(writer, call_ns(call));
    json_write_close(writer, '}');
    return call_end_plain(call, writer, CALL_JSON);
}

enum status call_end_plain(struct api_call *call, struct json_writer *writer,
                           const char *content_type) {
    if (json_writer_finish(writer) != STATUS_OK)
        return no_memory(call);
    call->answer = (struct api_answer){.http_status = 200,
                                       .content_type = content_type,
                                       .body = writer->text,
                                       .length = writer->length};
    return STATUS_OK;
}

enum status call_done(struct api_call *call) {
    call->done(call);
    return STATUS_OK;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static uint64_t deadline_ns(const struct api_call *call) {
    uint64_t timeout_ms = call->api->options.timeout_ms, deadline;
    const struct query_parameters *parameters = &call->parameters;
    if (parameters->has_timeout &&
        __builtin_mul_overflow(parameters->timeout_s, (uint64_t)1000, &timeout_ms))
        return 0;
    if (timeout_ms == 0 || __builtin_mul_overflow(timeout_ms, (uint64_t)1000000, &deadline) ||
        __builtin_add_overflow(deadline, call->started_ns, &deadline))
        return 0;
    return deadline;
}

enum status call_read(struct api_call *call, const void *request, call_read_fn *write_result) {
    struct call_snapshot snapshot = {.collection = NULL};
    struct json_writer writer;
    const struct reader_options options = {.deadline_ns = deadline_ns(call),
                                           .cancelled = &call->is_cancelled,
                                           .arena = call->arena,
                                           .stages = &call->stages};
    stage_clock_enter(&call->stages, STAGE_snapshot);
    enum status status = storage_acquire_collection(
        call->api->options.storage, call_collection_name(call), &snapshot.collection, &call->error);
    if (status != STATUS_OK)
        return status;
    status = reader_begin(snapshot.collection, &options, &snapshot.reader, &call->error);
    if (status == STATUS_OK) {
        stage_clock_enter(&call->stages, STAGE_search);
        call_begin_result(call, &writer);
        status = write_result(call, &snapshot, request, &writer);
        stage_clock_enter(&call->stages, STAGE_snapshot);
    }
    reader_end(snapshot.reader);
    storage_release_collection(snapshot.collection);
    stage_clock_enter(&call->stages, STAGE_encode);
    if (status == STATUS_OK)
        status = call_end_result(call, &writer);
    return status == STATUS_OK ? call_done(call) : status;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* A write on its way: lives in the call's arena until done. */
struct write_call {
    struct write_job job;
    struct api_call *call;
    bool answers_list;
};

static void write_update_result(struct json_writer *writer, const struct write_job *job,
                                bool is_completed) {
    json_write_open(writer, '{');
    /* The number is given when the operation is applied: an acknowledgement has none yet. */
    if (is_completed)
        json_write_key_u64(writer, "operation_id", job->operation_number);
    json_write_key_string(writer, "status", is_completed ? "completed" : "acknowledged");
    json_write_close(writer, '}');
}

static enum status answer_update(struct write_call *write, bool is_completed) {
    struct json_writer writer;
    call_begin_result(write->call, &writer);
    if (write->answers_list)
        json_write_open(&writer, '[');
    for (size_t i = 0; i < (write->answers_list ? write->job.operations_count : 1); i++)
        write_update_result(&writer, &write->job, is_completed);
    if (write->answers_list)
        json_write_close(&writer, ']');
    return call_end_result(write->call, &writer);
}

/* Writer thread: the client waits for this. */
static void write_done(struct write_job *job) {
    struct write_call *write = job->context;
    struct api_call *call = write->call;
    enum status status = job->status;
    const char *message = job->error.message;
    if (status == STATUS_OK && (status = answer_update(write, true)) != STATUS_OK)
        message = call->error.message;
    if (status != STATUS_OK)
        api_error_answer(call, status, message);
    call_done(call);
}

/* Writer thread: the client was answered before; only the memory was kept for the job. A failure
 * that nobody waits for would be seen by nobody. */
static void write_done_unwatched(struct write_job *job) {
    struct write_call *write = job->context;
    if (job->status != STATUS_OK)
        log_event(LOG_LEVEL_WARN, "a write of %s that was acknowledged before it was applied: %s",
                  call_collection_name(write->call), job->error.message);
    api_call_release(write->call);
}

static enum status prepare(struct api_call *call, struct collection *collection,
                           struct operation *operations, size_t count) {
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = collection_prepare(collection, &operations[i], &call->error);
    return status;
}

/* The answer is made before the job is submitted: afterwards a writer may be using the arena. */
static enum status submit_unwatched(struct write_call *write, struct collection *collection) {
    struct api_call *call = write->call;
    stage_clock_enter(&call->stages, STAGE_encode);
    enum status status = answer_update(write, false);
    if (status != STATUS_OK)
        return status;
    stage_clock_stop(&call->stages);
    write->job.done = write_done_unwatched;
    write->job.is_unwatched = true;
    atomic_fetch_add(&call->references, 1);
    status = collection_submit(collection, &write->job, &call->error);
    if (status != STATUS_OK) {
        atomic_fetch_sub(&call->references, 1);
        return status;
    }
    storage_release_collection(collection);
    return call_done(call);
}

static enum status submit_watched(struct write_call *write, struct collection *collection) {
    write->job.done = write_done;
    stage_clock_stop(&write->call->stages); /* a writer answers, perhaps at once */
    enum status status = collection_submit(collection, &write->job, &write->call->error);
    if (status == STATUS_OK)
        storage_release_collection(collection);
    return status;
}

enum status call_write(struct api_call *call, struct operation *operations, size_t count,
                       bool answers_list) {
    struct collection *collection;
    struct write_call *write = arena_alloc(call->arena, sizeof(*write));
    if (!write)
        return no_memory(call);
    enum status status = storage_acquire_collection(
        call->api->options.storage, call_collection_name(call), &collection, &call->error);
    if (status != STATUS_OK)
        return status;
    *write = (struct write_call){
        .job = {.operations = operations,
                .operations_count = count,
                .bytes = call->body_length,
                .context = write},
        .call = call,
        .answers_list = answers_list,
    };
    status = prepare(call, collection, operations, count);
    if (status == STATUS_OK)
        status = call->parameters.wait ? submit_watched(write, collection)
                                       : submit_unwatched(write, collection);
    /* After success the call, and with it this memory, may be gone. */
    if (status != STATUS_OK)
        storage_release_collection(collection);
    return status;
}

/* ---- Catalogue ------------------------------------------------------------------------------- */

/* Writer thread. */
static void catalogue_done(struct catalogue_job *job) {
    struct api_call *call = job->context;
    struct json_writer writer;
    enum status status = job->status;
    const char *message = job->error.message;
    if (status == STATUS_OK) {
        call_begin_result(call, &writer);
        json_write_bool(&writer, job->kind != CATALOGUE_DELETE || job->existed);
        status = call_end_result(call, &writer);
        message = call->error.message;
    }
    if (status != STATUS_OK)
        api_error_answer(call, status, message);
    call_done(call);
}

enum status call_change_catalogue(struct api_call *call, struct catalogue_job *job) {
    job->name = call_collection_name(call);
    job->arena = call->arena;
    job->done = catalogue_done;
    job->context = call;
    stage_clock_stop(&call->stages);
    return storage_submit_catalogue(call->api->options.storage, job, &call->error);
}
