#include "api/call.h"
#include "api/handlers.h"
#include "api/update_shapes.h"

/* Builds and submits one update of a kind. */
static enum status update(struct api_call *call, enum update_kind kind, const void *request) {
    struct operation *operation = arena_alloc(call->arena, sizeof(*operation));
    if (!operation)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    enum status status = update_rows[kind].build(request, call->arena, operation, &call->error);
    return status == STATUS_OK ? call_write(call, operation, 1, false) : status;
}

enum status handle_upsert(struct api_call *call, const void *request) {
    return update(call, UPDATE_UPSERT, request);
}

enum status handle_delete(struct api_call *call, const void *request) {
    return update(call, UPDATE_DELETE, request);
}

enum status handle_set_payload(struct api_call *call, const void *request) {
    return update(call, UPDATE_SET_PAYLOAD, request);
}

enum status handle_overwrite_payload(struct api_call *call, const void *request) {
    return update(call, UPDATE_OVERWRITE_PAYLOAD, request);
}

enum status handle_delete_payload(struct api_call *call, const void *request) {
    return update(call, UPDATE_DELETE_PAYLOAD, request);
}

enum status handle_clear_payload(struct api_call *call, const void *request) {
    return update(call, UPDATE_CLEAR_PAYLOAD, request);
}

enum status handle_update_vectors(struct api_call *call, const void *request) {
    return update(call, UPDATE_UPDATE_VECTORS, request);
}

enum status handle_delete_vectors(struct api_call *call, const void *request) {
    return update(call, UPDATE_DELETE_VECTORS, request);
}

/* All operations are one job: committed together, or none of them. */
enum status handle_update_batch(struct api_call *call, const void *request) {
    const struct batch_request *batch = request;
    size_t count = batch->operations_count;
    struct operation *operations = arena_alloc(call->arena, (count + 1) * sizeof(*operations));
    enum status status = STATUS_OK;
    if (!operations)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    if (count == 0)
        return error_set(&call->error, STATUS_BAD_REQUEST, "Empty update request");
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        const struct batch_item *item = &batch->operations[i];
        status =
            update_rows[item->kind].build(item->request, call->arena, &operations[i], &call->error);
    }
    return status == STATUS_OK ? call_write(call, operations, count, true) : status;
}
