#include "api/call.h"
#include "api/collection_name.h"
#include "api/collection_shapes.h"
#include "api/handlers.h"
#include "api/json_members.h"

#include <string.h>

/* ---- Listing --------------------------------------------------------------------------------- */

enum status handle_collections_list(struct api_call *call, const void *request) {
    const char *const *names;
    size_t count;
    struct json_writer writer;
    (void)request;
    enum status status = storage_list_collections(call->api->options.storage, call->arena, &names,
                                                  &count, &call->error);
    if (status != STATUS_OK)
        return status;
    call_begin_result(call, &writer);
    json_write_open(&writer, '{');
    json_write_key(&writer, "collections");
    json_write_open(&writer, '[');
    for (size_t i = 0; i < count; i++) {
        json_write_open(&writer, '{');
        json_write_key_string(&writer, "name", names[i]);
        json_write_close(&writer, '}');
    }
    json_write_close(&writer, ']');
    json_write_close(&writer, '}');
    status = call_end_result(call, &writer);
    return status == STATUS_OK ? call_done(call) : status;
}

enum status handle_collection_exists(struct api_call *call, const void *request) {
    struct json_writer writer;
    (void)request;
    call_begin_result(call, &writer);
    json_write_open(&writer, '{');
    json_write_key_bool(
        &writer, "exists",
        storage_has_collection(call->api->options.storage, call_collection_name(call)));
    json_write_close(&writer, '}');
    enum status status = call_end_result(call, &writer);
    return status == STATUS_OK ? call_done(call) : status;
}

/* ---- Information ----------------------------------------------------------------------------- */

static void write_status(const struct collection_status *status, struct json_writer *writer) {
    const char *colour = status->is_damaged          ? "red"
                         : status->waiting_count > 0 ? "yellow"
                                                     : "green";
    json_write_key_string(writer, "status", colour);
    json_write_key(writer, "optimizer_status");
    if (status->is_damaged) {
        json_write_open(writer, '{');
        json_write_key_string(writer, "error", status->reason);
        json_write_close(writer, '}');
    } else {
        json_write_string(writer, "ok");
    }
}

static enum status write_payload_schema(struct api_call *call, struct reader *reader,
                                        struct json_writer *writer) {
    const struct payload_index_status *indexes;
    size_t count;
    enum status status = reader_payload_indexes(reader, &indexes, &count, &call->error);
    if (status != STATUS_OK)
        return status;
    json_write_open(writer, '{');
    for (size_t i = 0; i < count; i++) {
        const struct payload_index_field *field = &indexes[i].field;
        const struct json_text params = {field->params, field->params_length};
        json_write_bytes_key(writer, field->path.text, field->path.text_length);
        json_write_open(writer, '{');
        json_write_key_string(writer, "data_type", payload_index_type_name(field->type));
        if (json_members_is_object(params)) {
            json_write_key(writer, "params");
            json_write_raw(writer, params.text, params.length);
        }
        json_write_key_u64(writer, "points", indexes[i].points);
        json_write_close(writer, '}');
    }
    json_write_close(writer, '}');
    return STATUS_OK;
}

/* Not in Qdrant's answer: how each graph is kept, and the ef that a search takes by itself. */
static void write_vector_indexes(const struct call_snapshot *snapshot, struct json_writer *writer) {
    const struct collection_config *config = reader_config(snapshot->reader);
    json_write_open(writer, '{');
    for (size_t i = 0; i < config->vectors_count; i++) {
        const struct vector_config *vector = &config->vectors[i];
        const struct vector_index_info info =
            collection_index_info(snapshot->collection, vector->number);
        json_write_key(writer, vector->name);
        json_write_open(writer, '{');
        json_write_key_string(writer, "profile", index_profile_name(info.profile));
        json_write_key_u64(writer, "edge_bits", info.edge_bits);
        json_write_key_u64(writer, "hnsw_ef", info.default_ef);
        json_write_key_u64(writer, "linked", info.linked_count);
        json_write_key_u64(writer, "waiting", info.waiting_count);
        json_write_key_u64(writer, "memory_bytes", info.memory_bytes);
        json_write_close(writer, '}');
    }
    json_write_close(writer, '}');
}

static enum status write_info(struct api_call *call, const struct call_snapshot *snapshot,
                              const void *request, struct json_writer *writer) {
    const struct collection_config *config = reader_config(snapshot->reader);
    struct collection_status state;
    (void)request;
    collection_status(snapshot->collection, &state);
    json_write_open(writer, '{');
    write_status(&state, writer);
    json_write_key_u64(writer, "indexed_vectors_count", state.indexed_vectors_count);
    json_write_key_u64(writer, "points_count", state.points_count);
    json_write_key_u64(writer, "segments_count", 1);
    json_write_key(writer, "config");
    json_write_raw(writer, config->document, config->document_length);
    json_write_key(writer, "payload_schema");
    enum status status = write_payload_schema(call, snapshot->reader, writer);
    json_write_key(writer, "vector_indexes");
    write_vector_indexes(snapshot, writer);
    json_write_key(writer, "update_queue");
    json_write_open(writer, '{');
    json_write_key_u64(writer, "length", state.queue_length);
    json_write_close(writer, '}');
    json_write_close(writer, '}');
    return status;
}

enum status handle_collection_info(struct api_call *call, const void *request) {
    return call_read(call, request, write_info);
}

/* One node, one shard, no peers. */
static enum status write_cluster(struct api_call *call, const struct call_snapshot *snapshot,
                                 const void *request, struct json_writer *writer) {
    struct collection_status state;
    (void)call;
    (void)request;
    collection_status(snapshot->collection, &state);
    json_write_open(writer, '{');
    json_write_key_u64(writer, "peer_id", 0);
    json_write_key_u64(writer, "shard_count", 1);
    json_write_key(writer, "local_shards");
    json_write_open(writer, '[');
    json_write_open(writer, '{');
    json_write_key_u64(writer, "shard_id", 0);
    json_write_key_u64(writer, "points_count", state.points_count);
    json_write_key_string(writer, "state", "Active");
    json_write_close(writer, '}');
    json_write_close(writer, ']');
    json_write_key(writer, "remote_shards");
    json_write_raw(writer, "[]", 2);
    json_write_key(writer, "shard_transfers");
    json_write_raw(writer, "[]", 2);
    json_write_close(writer, '}');
    return STATUS_OK;
}

enum status handle_collection_cluster(struct api_call *call, const void *request) {
    return call_read(call, request, write_cluster);
}

static enum status write_aliases(struct api_call *call, const struct call_snapshot *snapshot,
                                 const void *request, struct json_writer *writer) {
    static const char none[] = "{\"aliases\":[]}";
    (void)call;
    (void)snapshot;
    (void)request;
    json_write_raw(writer, none, sizeof(none) - 1);
    return STATUS_OK;
}

enum status handle_collection_aliases(struct api_call *call, const void *request) {
    return call_read(call, request, write_aliases);
}

/* ---- Changes --------------------------------------------------------------------------------- */

static enum status check_create(const struct collection_create *request, struct error *error) {
    const char *method = request->params.sharding_method;
    if (method && strcmp(method, "auto") != 0)
        return error_set(error, STATUS_BAD_REQUEST,
                         "sharding_method: only `auto` is supported, one node has no shards");
    return STATUS_OK;
}

enum status handle_collection_create(struct api_call *call, const void *body) {
    const struct collection_create *request = body;
    struct catalogue_job *job = arena_alloc(call->arena, sizeof(*job));
    struct collection_params *params = arena_alloc(call->arena, sizeof(*params));
    struct collection_document document = request->document;
    if (!job || !params)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    enum status status = collection_name_check_new(call_collection_name(call), &call->error);
    if (status == STATUS_OK)
        status = check_create(request, &call->error);
    if (status != STATUS_OK)
        return status;
    *params = request->params;
    document.params = params;
    *job = (struct catalogue_job){.kind = CATALOGUE_CREATE};
    status = collection_shapes_config(&document, NULL, call->arena, &job->config, &call->error);
    return status == STATUS_OK ? call_change_catalogue(call, job) : status;
}

/* Reads the patch over the configuration as it is now. Writer thread. */
static enum status apply_patch(struct catalogue_job *job, const struct collection_config *present,
                               struct collection_config *changed, struct error *error) {
    const struct api_call *call = job->context;
    struct collection_document document;
    struct json_reader reader;
    json_reader_init(&reader, present->document, present->document_length, job->arena, error);
    enum status status = json_shape_read(&reader, &collection_document_shape, &document);
    if (status == STATUS_NO_MEMORY)
        return status;
    if (status != STATUS_OK || !document.params)
        return error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a configuration");
    json_reader_init(&reader, call->body, call->body_length, job->arena, error);
    status = json_shape_merge(&reader, &collection_patch_shape, &document);
    return status == STATUS_OK
               ? collection_shapes_config(&document, present, job->arena, changed, error)
               : status;
}

/* The body was read once already, which checked it; the patch is applied by the writer. */
enum status handle_collection_update(struct api_call *call, const void *request) {
    struct catalogue_job *job = arena_alloc(call->arena, sizeof(*job));
    (void)request;
    if (!job)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    *job = (struct catalogue_job){.kind = CATALOGUE_UPDATE, .change = apply_patch};
    return call_change_catalogue(call, job);
}

enum status handle_collection_delete(struct api_call *call, const void *request) {
    struct catalogue_job *job = arena_alloc(call->arena, sizeof(*job));
    (void)request;
    if (!job)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    *job = (struct catalogue_job){.kind = CATALOGUE_DELETE};
    return call_change_catalogue(call, job);
}
