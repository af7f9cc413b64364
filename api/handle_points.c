#include "api/call.h"
#include "api/filter_json.h"
#include "api/handlers.h"
#include "api/point_json.h"

#include <stdlib.h>
#include <string.h>

/* ---- Shapes ---------------------------------------------------------------------------------- */

struct retrieve_request {
    struct point_id *ids;
    size_t ids_count;
    struct payload_select with_payload;
    struct vector_select with_vector;
};

static const struct json_field retrieve_fields[] = {
    {JSON_LIST_OF(struct retrieve_request, ids, point_json_id), .required = true},
    {JSON_CUSTOM(struct retrieve_request, with_payload, payload_select_json)},
    {JSON_CUSTOM(struct retrieve_request, with_vector, point_json_vector_select),
     .alias = "with_vectors"},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape handle_points_retrieve_shape =
    JSON_SHAPE("PointRequest", struct retrieve_request, retrieve_fields, .defaults = NULL);

struct scroll_request {
    bool has_offset;
    struct point_id offset;
    uint64_t limit;
    const struct filter *filter;
    struct payload_select with_payload;
    struct vector_select with_vector;
    struct raw_json order_by;
};

static const struct json_field scroll_fields[] = {
    {JSON_CUSTOM(struct scroll_request, offset, point_json_id), .has_presence = true,
     .presence_offset = offsetof(struct scroll_request, has_offset)},
    {JSON_MEMBER(struct scroll_request, limit), .min = 1},
    {JSON_CUSTOM(struct scroll_request, filter, filter_json)},
    {JSON_CUSTOM(struct scroll_request, with_payload, payload_select_json)},
    {JSON_CUSTOM(struct scroll_request, with_vector, point_json_vector_select),
     .alias = "with_vectors"},
    {JSON_MEMBER(struct scroll_request, order_by)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape handle_points_scroll_shape =
    JSON_SHAPE("ScrollRequest", struct scroll_request, scroll_fields, .inner = "scroll_request",
               .defaults = (&(const struct scroll_request){
                   .limit = 10, .with_payload = {.kind = PAYLOAD_SELECT_ALL}}));

struct count_request {
    const struct filter *filter;
    bool exact;
};

static const struct json_field count_fields[] = {
    {JSON_CUSTOM(struct count_request, filter, filter_json)},
    {JSON_MEMBER(struct count_request, exact)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape handle_points_count_shape =
    JSON_SHAPE("CountRequest", struct count_request, count_fields,
               .defaults = (&(const struct count_request){.exact = true}));

static struct point_view view_of(struct api_call *call, const struct call_snapshot *snapshot,
                                 const struct payload_select *payload,
                                 const struct vector_select *vectors) {
    return (struct point_view){.reader = snapshot->reader,
                               .arena = call->arena,
                               .error = &call->error,
                               .payload = payload,
                               .vectors = vectors};
}

/* ---- Retrieve -------------------------------------------------------------------------------- */

static int by_id_then_place(const void *a, const void *b, void *context) {
    const uint32_t *left = a, *right = b;
    const struct point_id *ids = context;
    int order = point_id_compare(&ids[*left], &ids[*right]);
    return order != 0 ? order : (*left > *right) - (*left < *right);
}

/* Marks the ids that an earlier one equals. NULL when the arena is full. */
static bool *mark_repeated(const struct retrieve_request *request, struct arena *arena) {
    size_t count = request->ids_count;
    /* Places, not pointers: a body of short ids leaves little memory beside them. */
    uint32_t *sorted = arena_alloc(arena, (count + 1) * sizeof(*sorted));
    bool *is_repeated = arena_alloc(arena, count + 1);
    if (!sorted || !is_repeated || count > UINT32_MAX)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        sorted[i] = i;
        is_repeated[i] = false;
    }
    qsort_r(sorted, count, sizeof(*sorted), by_id_then_place, request->ids);
    for (size_t i = 1; i < count; i++) {
        if (point_id_compare(&request->ids[sorted[i - 1]], &request->ids[sorted[i]]) == 0)
            is_repeated[sorted[i]] = true;
    }
    return is_repeated;
}

/* In the order of the request, each once; ids that do not exist are left out. */
static enum status write_retrieved(struct api_call *call, const struct call_snapshot *snapshot,
                                   const void *body, struct json_writer *writer) {
    const struct retrieve_request *request = body;
    const struct point_view view =
        view_of(call, snapshot, &request->with_payload, &request->with_vector);
    struct point_row row;
    enum status status = point_json_check_view(&view);
    const bool *is_repeated = mark_repeated(request, call->arena);
    if (!is_repeated)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    json_write_open(writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < request->ids_count; i++) {
        if (is_repeated[i])
            continue;
        reader_enter_stage(snapshot->reader, STAGE_rows);
        status = reader_point(snapshot->reader, &request->ids[i], &row, &call->error);
        reader_enter_stage(snapshot->reader, STAGE_encode);
        if (status == STATUS_OK)
            status = point_json_write_record(&view, &row, writer);
        else if (status == STATUS_NOT_FOUND)
            status = reader_step(snapshot->reader, 0, &call->error);
    }
    json_write_close(writer, ']');
    return status;
}

enum status handle_points_retrieve(struct api_call *call, const void *request) {
    return call_read(call, request, write_retrieved);
}

/* ---- One point ------------------------------------------------------------------------------- */

/* In a path digits are a number first; a text of digits alone cannot be asked for here. */
static enum status id_from_path(struct api_call *call, struct point_id *id) {
    const char *text = call->arguments.values[1];
    size_t length = strlen(text);
    struct json_number number;
    bool is_digits = strspn(text, "0123456789") == length && length > 0;
    *id = (struct point_id){.kind = POINT_ID_NUMBER};
    /* Leading zeros are fine in a path, though not in JSON. */
    const char *first = text + (is_digits ? strspn(text, "0") : 0);
    if (is_digits && !*first)
        return STATUS_OK;
    bool is_id = is_digits ? json_number_scan(first, text + length, &number) &&
                                 json_number_to_u64(&number, first, strlen(first), &id->number)
                           : point_id_from_string(text, length, id);
    if (!is_id)
        return error_set(&call->error, STATUS_INVALID, "Can not recognize \"%s\" as point id",
                         text);
    return STATUS_OK;
}

static enum status not_found(struct api_call *call, const struct point_id *id) {
    char uuid[POINT_ID_UUID_TEXT];
    switch (id->kind) {
    case POINT_ID_NUMBER:
        return error_set(&call->error, STATUS_NOT_FOUND, "Point with id %llu does not exists!",
                         (unsigned long long)id->number);
    case POINT_ID_UUID:
        point_id_uuid_text(id->uuid, uuid);
        return error_set(&call->error, STATUS_NOT_FOUND, "Point with id %.*s does not exists!",
                         POINT_ID_UUID_TEXT, uuid);
    case POINT_ID_TEXT:
        break;
    }
    return error_set(&call->error, STATUS_NOT_FOUND, "Point with id %.*s does not exists!",
                     (int)id->text_length, id->text);
}

static enum status write_point(struct api_call *call, const struct call_snapshot *snapshot,
                               const void *request, struct json_writer *writer) {
    const struct point_id *id = request;
    const struct payload_select payload = {.kind = PAYLOAD_SELECT_ALL};
    const struct vector_select vectors = {.all = true};
    const struct point_view view = view_of(call, snapshot, &payload, &vectors);
    struct point_row row;
    reader_enter_stage(snapshot->reader, STAGE_rows);
    enum status status = reader_point(snapshot->reader, id, &row, &call->error);
    reader_enter_stage(snapshot->reader, STAGE_encode);
    if (status == STATUS_NOT_FOUND)
        return not_found(call, id);
    return status == STATUS_OK ? point_json_write_record(&view, &row, writer) : status;
}

enum status handle_point_get(struct api_call *call, const void *request) {
    struct point_id id;
    (void)request;
    enum status status = id_from_path(call, &id);
    return status == STATUS_OK ? call_read(call, &id, write_point) : status;
}

/* ---- Scroll and count ------------------------------------------------------------------------ */

static enum status write_scrolled(struct api_call *call, const struct call_snapshot *snapshot,
                                  const void *body, struct json_writer *writer) {
    const struct scroll_request *request = body;
    const struct point_view view =
        view_of(call, snapshot, &request->with_payload, &request->with_vector);
    struct point_page page;
    if (request->order_by.text)
        return error_set(&call->error, STATUS_BAD_REQUEST,
                         "order_by: this form is not supported by this version");
    enum status status = point_json_check_view(&view);
    if (status == STATUS_OK)
        status = reader_scroll(snapshot->reader, request->has_offset ? &request->offset : NULL,
                               (size_t)request->limit, request->filter, &page, &call->error);
    reader_enter_stage(snapshot->reader, STAGE_encode);
    if (status != STATUS_OK)
        return status;
    json_write_open(writer, '{');
    json_write_key(writer, "points");
    json_write_open(writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < page.count; i++)
        status = point_json_write_record(&view, &page.rows[i], writer);
    json_write_close(writer, ']');
    json_write_key(writer, "next_page_offset");
    if (page.has_next)
        point_json_write_id(writer, &page.next);
    else
        json_write_null(writer);
    json_write_close(writer, '}');
    return status;
}

enum status handle_points_scroll(struct api_call *call, const void *request) {
    return call_read(call, request, write_scrolled);
}

/* An estimate would be allowed where exact is false; counting is cheap enough to be exact. */
static enum status write_count(struct api_call *call, const struct call_snapshot *snapshot,
                               const void *body, struct json_writer *writer) {
    const struct count_request *request = body;
    uint64_t count = 0;
    enum status status = reader_count(snapshot->reader, request->filter, &count, &call->error);
    json_write_open(writer, '{');
    json_write_key_u64(writer, "count", count);
    json_write_close(writer, '}');
    return status;
}

enum status handle_points_count(struct api_call *call, const void *request) {
    return call_read(call, request, write_count);
}
