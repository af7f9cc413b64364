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

/* What of a point is written, once it is known that it can be. */
static enum status make_view(struct api_call *call, struct reader *reader,
                             const struct query_request *request, struct point_view *view) {
    *view = (struct point_view){.reader = reader,
                                .arena = call->arena,
                                .error = &call->error,
                                .payload = &request->with_payload,
                                .vectors = &request->with_vector};
    enum status status = check_prefetch(request, &call->error);
    return status == STATUS_OK ? point_json_check_view(view) : status;
}

static enum status make_query(const struct point_view *view, const struct query_request *request,
                              struct query *query) {
    const struct query_params *params = request->params;
    *query = (struct query){
        .filter = request->filter,
        .limit = request->limit,
        .offset = request->offset,
        .ef = params ? params->hnsw_ef : 0,
        .exact = params && params->exact,
        .indexed_only = params && params->indexed_only,
        .has_threshold = request->has_score_threshold,
        .threshold = request->score_threshold,
    };
    return set_target(view->reader, request, query, view->error);
}

static enum status write_hits(const struct point_view *view, const struct query_hits *hits,
                              struct json_writer *writer) {
    enum status status = STATUS_OK;
    reader_enter_stage(view->reader, STAGE_encode);
    for (size_t i = 0; status == STATUS_OK && i < hits->count; i++) {
        const struct query_hit *hit = &hits->hits[i];
        /* Adding zero turns the -0.0 of an orthogonal vector into 0.0. */
        status =
            point_json_write_scored(view, &hit->row, hit->row.version, hit->score + 0.0f, writer);
    }
    return status;
}

static enum status write_nearest(const struct point_view *view, const struct query_request *request,
                                 struct json_writer *writer) {
    struct query_hits hits;
    struct query query;
    enum status status = make_query(view, request, &query);
    if (status == STATUS_OK)
        status = reader_query(view->reader, &query, &hits, view->error);
    return status == STATUS_OK ? write_hits(view, &hits, writer) : status;
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

/* A list of points, which the universal query wraps in an object. */
static void open_points(struct json_writer *writer, bool is_wrapped) {
    if (is_wrapped) {
        json_write_open(writer, '{');
        json_write_key(writer, "points");
    }
    json_write_open(writer, '[');
}

static void close_points(struct json_writer *writer, bool is_wrapped) {
    json_write_close(writer, ']');
    if (is_wrapped)
        json_write_close(writer, '}');
}

/* Writes the list of points that a query finds. */
static enum status write_points(struct api_call *call, struct reader *reader,
                                const struct query_request *request, bool is_wrapped,
                                struct json_writer *writer) {
    struct point_view view;
    enum status status = make_view(call, reader, request, &view);
    if (status != STATUS_OK)
        return status;
    open_points(writer, is_wrapped);
    status = request->query.kind == QUERY_TARGET_NONE ? write_in_order(&view, request, writer)
                                                      : write_nearest(&view, request, writer);
    close_points(writer, is_wrapped);
    return status;
}

/* ---- Batches --------------------------------------------------------------------------------- */

/* Searches that are answered together. */
struct together {
    struct point_view views[READER_TOGETHER_MAX];
    struct query queries[READER_TOGETHER_MAX];
    struct query_hits hits[READER_TOGETHER_MAX];
    size_t count;
};

/* Takes the next searches, up to one that asks for points in order or is wrong. What is wrong with
 * it is told once it is the first of them, when those before it have been answered. */
static enum status take_together(struct api_call *call, struct reader *reader,
                                 const struct query_request *requests, size_t count,
                                 struct together *together) {
    enum status status = STATUS_OK;
    together->count = 0;
    while (together->count < count && together->count < READER_TOGETHER_MAX) {
        size_t i = together->count;
        if (requests[i].query.kind == QUERY_TARGET_NONE)
            break;
        status = make_view(call, reader, &requests[i], &together->views[i]);
        if (status == STATUS_OK)
            status = make_query(&together->views[i], &requests[i], &together->queries[i]);
        if (status != STATUS_OK)
            break;
        together->count++;
    }
    return together->count > 0 ? STATUS_OK : status;
}

static enum status write_together(const struct together *together, bool is_wrapped,
                                  struct json_writer *writer) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < together->count && status == STATUS_OK; i++) {
        open_points(writer, is_wrapped);
        status = write_hits(&together->views[i], &together->hits[i], writer);
        close_points(writer, is_wrapped);
    }
    return status;
}

/* A batch is answered from one snapshot, some searches at a time: those may share a scan. */
static enum status write_batch(struct api_call *call, struct reader *reader,
                               const struct query_batch *batch, bool is_wrapped,
                               struct json_writer *writer) {
    enum status status = STATUS_OK;
    size_t done = 0;
    json_write_open(writer, '[');
    while (status == STATUS_OK && done < batch->searches_count) {
        const struct query_request *requests = batch->searches + done;
        struct together together;
        if (requests->query.kind == QUERY_TARGET_NONE) {
            status = write_points(call, reader, requests, is_wrapped, writer);
            done++;
            continue;
        }
        status = take_together(call, reader, requests, batch->searches_count - done, &together);
        if (status == STATUS_OK)
            status = reader_query_batch(reader, together.queries, together.count, together.hits,
                                        &call->error);
        if (status == STATUS_OK)
            status = write_together(&together, is_wrapped, writer);
        done += together.count;
    }
    json_write_close(writer, ']');
    return status;
}

/* ---- Endpoints ------------------------------------------------------------------------------- */

static enum status write_search(struct api_call *call, const struct call_snapshot *snapshot,
                                const void *request, struct json_writer *writer) {
    return write_points(call, snapshot->reader, request, false, writer);
}

static enum status write_query(struct api_call *call, const struct call_snapshot *snapshot,
                               const void *request, struct json_writer *writer) {
    return write_points(call, snapshot->reader, request, true, writer);
}

static enum status write_search_batch(struct api_call *call, const struct call_snapshot *snapshot,
                                      const void *request, struct json_writer *writer) {
    return write_batch(call, snapshot->reader, request, false, writer);
}

static enum status write_query_batch(struct api_call *call, const struct call_snapshot *snapshot,
                                     const void *request, struct json_writer *writer) {
    return write_batch(call, snapshot->reader, request, true, writer);
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
