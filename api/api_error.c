#include "api/api_error.h"

#include "api/api.h"
#include "api/call.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    ERROR_ANSWER_MAX = 32 * 1024, /* bytes: a message whose every byte is escaped, and its growth */
};

/* The message stands between prefix and suffix. */
static const struct {
    unsigned http_status;
    unsigned retry_after_s;
    const char *prefix, *suffix;
} failures[] = {
    [STATUS_OK] = {500, 0, "Service internal error: ", ""},
    [STATUS_INVALID] = {400, 0, "Wrong input: ", ""},
    [STATUS_BAD_REQUEST] = {400, 0, "Bad request: ", ""},
    [STATUS_FORMAT] = {400, 0, "Format error in JSON body: ", ""},
    [STATUS_QUERY_FORMAT] = {400, 0, "Deserialize error in query parameters: ", ""},
    [STATUS_VALIDATION] = {422, 0, "Validation error in JSON body: [", "]"},
    [STATUS_QUERY_VALIDATION] = {422, 0, "Validation error in query parameters: [", "]"},
    [STATUS_PATH_VALIDATION] = {422, 0, "Validation error in path parameters: [", "]"},
    [STATUS_NOT_FOUND] = {404, 0, "Not found: ", ""},
    [STATUS_CONFLICT] = {409, 0, "Wrong input: ", ""},
    [STATUS_FORBIDDEN] = {403, 0, "Forbidden: ", ""},
    [STATUS_TOO_LARGE] = {413, 0, "", ""},
    [STATUS_TIMEOUT] = {408, 0, "Timeout: ", ""},
    [STATUS_RATE_LIMITED] = {429, 1, "Rate limiting exceeded: ", ""},
    [STATUS_UNAVAILABLE] = {503, 1, "Service unavailable: ", ""},
    [STATUS_NO_SPACE] = {507, 0, "Insufficient storage: ", ""},
    [STATUS_MAP_FULL] = {507, 0, "Insufficient storage: ", ""},
    [STATUS_NO_MEMORY] = {503, 1, "Service unavailable: ", ""},
    [STATUS_IO] = {500, 0, "Service internal error: ", ""},
    [STATUS_CORRUPT] = {500, 0, "Service internal error: ", ""},
    [STATUS_CANCELLED] = {408, 0, "Timeout: ", ""},
};
#define STATUS_ONE(name, text) +1
static_assert(sizeof(failures) / sizeof(failures[0]) == 0 STATUS_TABLE(STATUS_ONE),
              "each status has its row");
#undef STATUS_ONE

static const char no_memory_body[] =
    "{\"status\":{\"error\":\"Service unavailable: out of memory\"},\"time\":0.0}";

unsigned api_error_http_status(enum status status) {
    return failures[status].http_status;
}

/* Memory that the call's own limit refused will be refused again, so the client is not told to
 * come back. What the system lacked may be there the next time. */
static bool is_over_limit(const struct api_call *call, enum status status) {
    return status == STATUS_NO_MEMORY && call->arena->is_at_limit;
}

/* An answer that filled the arena is given up for the error. */
static void make_room(struct arena *arena) {
    if (arena->limit < SIZE_MAX - ERROR_ANSWER_MAX)
        arena->limit += ERROR_ANSWER_MAX;
}

void api_error_answer(struct api_call *call, enum status status, const char *message) {
    struct json_writer writer;
    char over_limit[ERROR_MESSAGE_MAX];
    if (is_over_limit(call, status)) {
        snprintf(over_limit, sizeof(over_limit),
                 "the request and its answer need more than service.request_memory_mb (%" PRIu64
                 ") beside %d times the body: lower limit, ask for fewer points, or leave out "
                 "payloads and vectors",
                 call->api->options.memory_mb, API_ARENA_FACTOR);
        status = STATUS_BAD_REQUEST;
        message = over_limit;
    }
    make_room(call->arena);
    char text[ERROR_MESSAGE_MAX + 128];
    size_t length = 0;
    const char *const parts[] = {failures[status].prefix, *message ? message : status_text(status),
                                 failures[status].suffix};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t part = strnlen(parts[i], sizeof(text) - length);
        memcpy(text + length, parts[i], part);
        length += part;
    }
    json_writer_init(&writer, call->arena);
    json_write_open(&writer, '{');
    json_write_key(&writer, "status");
    json_write_open(&writer, '{');
    json_write_key(&writer, "error");
    json_write_bytes(&writer, text, length);
    json_write_close(&writer, '}');
    json_write_key(&writer, "time");
    json_write_billionths(&writer, call_ns(call));
    json_write_close(&writer, '}');
    bool is_written = json_writer_finish(&writer) == STATUS_OK;
    call->answer = (struct api_answer){
        .http_status = failures[status].http_status,
        .content_type = CALL_JSON,
        .body = is_written ? writer.text : no_memory_body,
        .length = is_written ? writer.length : sizeof(no_memory_body) - 1,
        .retry_after_s = failures[status].retry_after_s,
    };
}
