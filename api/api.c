#include "api/api.h"

#include "api/api_error.h"
#include "api/call.h"
#include "api/collection_name.h"
#include "api/json_shape.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum status api_create(const struct api_options *options, struct api **api, struct error *error) {
    struct timespec now;
    *api = malloc(sizeof(**api));
    if (!*api)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    clock_gettime(CLOCK_REALTIME, &now);
    **api = (struct api){
        .options = *options,
        .started_s = (uint64_t)now.tv_sec,
        .id = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    return STATUS_OK;
}

void api_free(struct api *api) {
    free(api);
}

void api_call_init(struct api_call *call, struct api *api, struct arena *arena) {
    *call = (struct api_call){.api = api, .arena = arena};
    atomic_init(&call->is_cancelled, false);
    atomic_init(&call->references, 1);
}

void api_call_release(struct api_call *call) {
    int before = atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        call->free_call(call);
}

void api_fail(struct api_call *call, enum status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(call->error.message, sizeof(call->error.message), format, args);
    va_end(args);
    call->error.status = status;
    api_error_answer(call, status, call->error.message);
}

static enum status read_body(struct api_call *call, const struct json_shape *shape,
                             const void **request) {
    struct json_reader *reader = arena_alloc(call->arena, sizeof(*reader));
    void *body = arena_alloc(call->arena, shape->size);
    if (!reader || !body)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    *request = body;
    json_reader_init(reader, call->body, call->body_length, call->arena, &call->error);
    if (json_reader_peek(reader) == JSON_TYPE_END && reader->at == reader->end)
        return error_set(&call->error, STATUS_FORMAT, "the body is empty, expected an object");
    enum status status = json_shape_read(reader, shape, body);
    return status == STATUS_OK ? json_read_end(reader) : status;
}

static enum status run(struct api_call *call) {
    const struct route *route = call->route;
    const void *request = NULL;
    if (route->access == ACCESS_WRITE && call->is_read_only)
        return error_set(&call->error, STATUS_FORBIDDEN,
                         "this API key may only read, this request changes data");
    enum status status = query_parameters_read(route->parameters, call->query, call->query_length,
                                               call->arena, &call->parameters, &call->error);
    if (status == STATUS_OK && call->arguments.count > 0)
        status = collection_name_check(call_collection_name(call), &call->error);
    if (status == STATUS_OK && route->request)
        status = read_body(call, route->request, &request);
    return status == STATUS_OK ? route->handle(call, request) : status;
}

void api_run(struct api_call *call) {
    assert(call->route && call->done && call->free_call);
    enum status status = run(call);
    if (status == STATUS_OK)
        return; /* answered, or a writer's by now */
    api_error_answer(call, status, call->error.status == status ? call->error.message : "");
    call_done(call);
}
