/* A small stand-in for the layers below the server, so that its behaviour on the wire is tested
 * whatever they do. It echoes, waits, and grows bodies on demand.
 *
 *     GET    /healthz            public
 *     POST   /echo               the body comes back
 *     GET    /echo/{text}        the text comes back
 *     POST   /sleep/{ms}         takes so long, or until it is cancelled
 *     POST   /gate               ends when double_gate_is_open, or when it is cancelled
 *     POST   /hold               ends when double_gate_is_open
 *     GET    /bytes/{count}      an answer of so many bytes
 *     DELETE /things/{name}      needs the right to write
 */
#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct api {
    struct api_options options;
};

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void answer(struct api_call *call, const char *body, size_t length) {
    call->answer = (struct api_answer){
        .http_status = 200, .content_type = "text/plain", .body = body, .length = length};
}

static enum status handle_health(struct api_call *call, const void *request) {
    (void)request;
    answer(call, "healthz check passed", 20);
    return STATUS_OK;
}

static enum status handle_echo(struct api_call *call, const void *request) {
    (void)request;
    answer(call, call->body, call->body_length);
    return STATUS_OK;
}

static enum status handle_text(struct api_call *call, const void *request) {
    (void)request;
    answer(call, call->arguments.values[0], strlen(call->arguments.values[0]));
    return STATUS_OK;
}

static atomic_int double_cancelled; /* requests that ended early */
static atomic_int double_running;   /* that sleep or wait */
static atomic_bool double_gate_is_open;

static enum status handle_sleep(struct api_call *call, const void *request) {
    (void)request;
    long ms = atol(call->arguments.values[0]), slept = 0;
    atomic_fetch_add(&double_running, 1);
    while (slept < ms && !atomic_load(&call->is_cancelled)) {
        sleep_ms(5);
        slept += 5;
    }
    atomic_fetch_sub(&double_running, 1);
    if (slept < ms)
        atomic_fetch_add(&double_cancelled, 1);
    answer(call, "slept", 5);
    return STATUS_OK;
}

static enum status wait_at_gate(struct api_call *call, bool is_patient) {
    atomic_fetch_add(&double_running, 1);
    while (!atomic_load(&double_gate_is_open) && (is_patient || !atomic_load(&call->is_cancelled)))
        sleep_ms(1);
    atomic_fetch_sub(&double_running, 1);
    answer(call, "open", 4);
    return STATUS_OK;
}

static enum status handle_gate(struct api_call *call, const void *request) {
    (void)request;
    return wait_at_gate(call, false);
}

static enum status handle_hold(struct api_call *call, const void *request) {
    (void)request;
    return wait_at_gate(call, true);
}

static enum status handle_bytes(struct api_call *call, const void *request) {
    (void)request;
    size_t count = strtoul(call->arguments.values[0], NULL, 10);
    char *bytes = arena_alloc(call->arena, count + 1);
    if (!bytes)
        return STATUS_NO_MEMORY;
    memset(bytes, 'x', count);
    answer(call, bytes, count);
    return STATUS_OK;
}

static enum status handle_metrics(struct api_call *call, const void *request) {
    (void)request;
    struct json_writer out;
    json_writer_init(&out, call->arena);
    call->api->options.write_metrics(call->api->options.context, &out);
    answer(call, out.text, out.length);
    return json_writer_finish(&out);
}

const struct route routes[] = {
    {.method = "GET", .pattern = "/healthz", .access = ACCESS_PUBLIC, .handle = handle_health},
    {.method = "GET", .pattern = "/readyz", .access = ACCESS_PUBLIC, .handle = handle_health},
    {.method = "GET", .pattern = "/metrics", .access = ACCESS_READ, .handle = handle_metrics},
    {.method = "POST", .pattern = "/echo", .access = ACCESS_READ, .handle = handle_echo},
    {.method = "GET", .pattern = "/echo/{text}", .access = ACCESS_READ, .handle = handle_text},
    {.method = "POST", .pattern = "/sleep/{ms}", .access = ACCESS_READ, .handle = handle_sleep},
    {.method = "POST", .pattern = "/gate", .access = ACCESS_READ, .handle = handle_gate},
    {.method = "POST", .pattern = "/hold", .access = ACCESS_READ, .handle = handle_hold},
    {.method = "GET", .pattern = "/bytes/{count}", .access = ACCESS_READ, .handle = handle_bytes},
    {.method = "DELETE",
     .pattern = "/things/{name}",
     .access = ACCESS_WRITE,
     .handle = handle_text},
};
const size_t routes_count = sizeof(routes) / sizeof(routes[0]);

enum route_match routes_match(const char *method, const char *path, size_t path_length,
                              struct arena *arena, const struct route **route,
                              struct route_arguments *arguments, char allow[64]) {
    allow[0] = '\0';
    arguments->count = 0;
    for (size_t i = 0; i < routes_count; i++) {
        const char *brace = strchr(routes[i].pattern, '{');
        size_t fixed = brace ? (size_t)(brace - routes[i].pattern) : strlen(routes[i].pattern);
        if (path_length < fixed || memcmp(path, routes[i].pattern, fixed) != 0 ||
            (!brace && path_length != fixed))
            continue;
        bool is_get = strcmp(routes[i].method, "GET") == 0;
        if (strcmp(method, routes[i].method) != 0 && !(is_get && strcmp(method, "HEAD") == 0)) {
            snprintf(allow, 64, "%s%s", routes[i].method, is_get ? ", HEAD" : "");
            continue;
        }
        *route = &routes[i];
        if (brace) {
            arguments->values[0] = arena_text(arena, path + fixed, path_length - fixed);
            arguments->count = 1;
        }
        return ROUTE_FOUND;
    }
    return allow[0] ? ROUTE_WRONG_METHOD : ROUTE_NOT_FOUND;
}

enum status api_create(const struct api_options *options, struct api **api, struct error *error) {
    *api = malloc(sizeof(**api));
    if (!*api)
        return error_set(error, STATUS_NO_MEMORY, "no memory");
    (*api)->options = *options;
    return STATUS_OK;
}

void api_free(struct api *api) {
    free(api);
}

void api_call_init(struct api_call *call, struct api *api, struct arena *arena) {
    call->api = api;
    call->arena = arena;
    atomic_init(&call->is_cancelled, false);
    atomic_init(&call->references, 1);
}

void api_run(struct api_call *call) {
    enum status status = call->route->handle(call, NULL);
    if (status != STATUS_OK)
        api_fail(call, status, "failed");
    call->done(call);
}

void api_call_release(struct api_call *call) {
    if (atomic_fetch_sub(&call->references, 1) == 1)
        call->free_call(call);
}

void api_fail(struct api_call *call, enum status status, const char *format, ...) {
    static const char text[] = "{\"status\":{\"error\":\"failed\"},\"time\":0.0}";
    (void)format;
    (void)status;
    call->answer = (struct api_answer){.http_status = 500,
                                       .content_type = "application/json",
                                       .body = text,
                                       .length = sizeof(text) - 1};
}
