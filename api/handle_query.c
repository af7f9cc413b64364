#include "api/call.h"
#include "api/handlers.h"
#include "api/query_shapes.h"
#include "index/distance.h"

/* ---- One query ------------------------------------------------------------------------------- */

static enum status check_prefetch(const struct query_request *request, struct error *error) {
    if (!request->has_prefetch)
        return STATUS_OK;
    if (request->query.kind == QUERY_TARGET_NONE)
        return error_set(error, STATUS_BAD_REQUEST,
                         "A query is needed to merge the prefetches. Can't have prefetches without "
                         "defining a query.");
    return error_set(error, STATUS_BAD_REQUEST,
                     "prefetch: this form is not supported by this version");
}

/* Says what is asked for in terms of the collection; the vector is normalised in place. */
static enum status set_target(struct reader *reader, const struct query_request *request,
                              struct query *query, struct error *error) {
    const struct query_target *target = &request->query;
    const char *name = request->using ? request->using : "";
    query->vector = collection_config_vector(reader_config(reader), name);
    if (!query->vector)
        return error_set(error, STATUS_INVALID, "Not existing vector name error: %s", name);
    bool fits = target->vector.count == query->vector->dimension;
    if (target->kind == QUERY_TARGET_ID || (target->kind == QUERY_TARGET_EITHER && !fits)) {
        query->id = &target->id;
        return STATUS_OK;
    }
    if (!fits)
        return error_set(error, STATUS_INVALID, "Vector dimension error: expected dim: %u, got %zu",
                         query->vector->dimension, target->vector.count);
    if (query->vector->distance == DISTANCE_COSINE)
        distance_normalise(target->vector.values, target->vector.count);
    query->values = target->vector.values;
    return STATUS_OK;
}

static enum status write_nearest(const struct point_view *view, const struct query_request *request,
                                 struct json_writer *writer) {
    const struct query_params *params = request->params;
    struct query_hits hits;
    struct query query = {
        .filter = request->filter,
        .limit = request->limit,
        .offset = request->offset,
        .ef = params ? params->hnsw_ef : 0,
        .exact = params && params->exact,
        .indexed_only = params && params->indexed_only,
        .has_threshold = request->has_score_threshold,
        .threshold = request->score_threshold,
    };
    enum status status = set_target(view->reader, request, &query, view->error);
    if (status == STATUS_OK)
        status = reader_query(view->reader, &query, &hits, view->error);
    reader_enter_stage(view->reader, STAGE_encode);
    for (size_t i = 0; status == STATUS_OK && i < hits.count; i++) {
        const struct query_hit *hit = &hits.hits[i];
        /* Adding zero turns the -0.0 of an orthogonal vector into 0.0. */
        status =
            point_json_write_scored(view, &hit->row, hit->row.version, hit->score + 0.0f, writer);
    }
    return status;
}

/* Without a query: points in the order of their ids, as if each scored 1. */
static enum status write_in_order(const struct point_view *view,
                                  const struct query_request *request, struct json_writer *writer) {
    struct point_page page;
    uint64_t end;
    if (__builtin_add_overflow(request->offset, request->limit, &end))
        end = UINT64_MAX;
    reader_enter_stage(view->reader, STAGE_search);
    enum status status =
        reader_scroll(view->reader, NULL, (size_t)end, request->filter, &page, view->error);
    reader_enter_stage(view->reader, STAGE_encode);
    for (size_t i = (size_t)request->offset; status == STATUS_OK && i < page.count; i++)
        status = point_json_write_scored(view, &page.rows[i], 0, 1.0f, writer);
    return status;
}

/* Writes the list of points that a query finds. */
static enum status write_points(struct api_call *call, struct reader *reader,
                                const struct query_request *request, struct json_writer *writer) {
    const struct point_view view = {.reader = reader,
                                    .arena = call->arena,
                                    .error = &call->error,
                                    .payload = &request->with_payload,
                                    .vectors = &request->with_vector};
    enum status status = check_prefetch(request, &call->error);
    if (status == STATUS_OK)
        status = point_json_check_view(&view);
    if (status != STATUS_OK)
        return status;
    json_write_open(writer, '[');
    status = request->query.kind == QUERY_TARGET_NONE ? write_in_order(&view, request, writer)
                                                      : write_nearest(&view, request, writer);
    json_write_close(writer, ']');
    return status;
}

/* ---- Endpoints ------------------------------------------------------------------------------- */

static enum status write_search(struct api_call *call, const struct call_snapshot *snapshot,
                                const void *request, struct json_writer *writer) {
    return write_points(call, snapshot->reader, request, writer);
}

/* The universal query wraps its points in an object. */
static enum status write_query(struct api_call *call, const struct call_snapshot *snapshot,
                               const void *request, struct json_writer *writer) {
    json_write_open(writer, '{');
    json_write_key(writer, "points");
    enum status status = write_points(call, snapshot->reader, request, writer);
    json_write_close(writer, '}');
    return status;
}

/* A batch is answered from one snapshot. */
static enum status write_batch(struct api_call *call, const struct call_snapshot *snapshot,
                               const struct query_batch *batch, call_read_fn *write_one,
                               struct json_writer *writer) {
    enum status status = STATUS_OK;
    json_write_open(writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < batch->searches_count; i++)
        status = write_one(call, snapshot, &batch->searches[i], writer);
    json_write_close(writer, ']');
    return status;
}

static enum status write_search_batch(struct api_call *call, const struct call_snapshot *snapshot,
                                      const void *request, struct json_writer *writer) {
    return write_batch(call, snapshot, request, write_search, writer);
}

static enum status write_query_batch(struct api_call *call, const struct call_snapshot *snapshot,
                                     const void *request, struct json_writer *writer) {
    return write_batch(call, snapshot, request, write_query, writer);
}

enum status handle_query(struct api_call *call, const void *request) {
    return call_read(call, request, write_query);
}

enum status handle_query_batch(struct api_call *call, const void *request) {
    return call_read(call, request, write_query_batch);
}

enum status handle_search(struct api_call *call, const void *request) {
    return call_read(call, request, write_search);
}

enum status handle_search_batch(struct api_call *call, const void *request) {
    return call_read(call, request, write_search_batch);
}
