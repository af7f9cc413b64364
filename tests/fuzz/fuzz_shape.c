/* The first byte picks a route, the rest is its body: read by the route's shape. Bodies of updates
 * become operations, and edits of payloads are applied, which must leave a payload. */
#include "api/payload_edit.h"
#include "api/routes.h"
#include "api/update_shapes.h"

#include "tests/fuzz/fuzz_target.h"

#include <string.h>

enum {
    ARENA_BYTES = 16 << 20,
};

static const char payload[] =
    "{\"a\":{\"b\":[1,{\"c\":2},null]},\"d\":1.50,\"e\":\"x\",\"d\":[],\"f.g\":{\"h\":{}}}";

/* An edit answers with an object, with no payload, or with an error. */
static void apply_edit(const struct operation *operation, struct arena *arena) {
    struct json_reader reader;
    struct error error = {0};
    const char *edited, *raw;
    size_t length, raw_length;
    if (operation->edit(operation, payload, sizeof(payload) - 1, arena, &edited, &length, &error) !=
            STATUS_OK ||
        edited == NULL)
        return;
    json_reader_init(&reader, edited, length, arena, &error);
    MUST_HOLD(json_reader_peek(&reader) == JSON_TYPE_OBJECT);
    MUST_HOLD(json_read_raw(&reader, &raw, &raw_length) == STATUS_OK);
    MUST_HOLD(json_read_end(&reader) == STATUS_OK);
}

static void build(enum update_kind kind, const void *request, struct arena *arena) {
    struct operation operation;
    struct error error = {0};
    enum status status = update_rows[kind].build(request, arena, &operation, &error);
    MUST_HOLD(status == STATUS_OK || error.status == status);
    if (status == STATUS_OK && operation.kind == OPERATION_EDIT_PAYLOAD)
        apply_edit(&operation, arena);
}

/* Every kind of update that this shape is the body of. */
static void build_all(const struct json_shape *shape, const void *request, struct arena *arena) {
    const struct batch_request *batch = request;
    for (int kind = 0; kind < UPDATE_KIND_COUNT; kind++) {
        if (update_rows[kind].shape == shape)
            build((enum update_kind)kind, request, arena);
    }
    for (size_t i = 0; shape == &update_batch_shape && i < batch->operations_count; i++)
        build(batch->operations[i].kind, batch->operations[i].request, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct json_reader reader;
    struct error error = {0};
    if (size == 0)
        return 0;
    const struct json_shape *shape = routes[data[0] % routes_count].request;
    if (shape == NULL)
        return 0;
    arena_init(&arena, ARENA_BYTES);
    void *request = arena_alloc(&arena, shape->size);
    json_reader_init(&reader, (const char *)data + 1, size - 1, &arena, &error);
    enum status status = json_shape_read(&reader, shape, request);
    if (status == STATUS_OK)
        status = json_read_end(&reader);
    MUST_HOLD(status == STATUS_OK || (error.status == status && error.message[0] != '\0'));
    if (status == STATUS_OK)
        build_all(shape, request, &arena);
    arena_free(&arena);
    return 0;
}
