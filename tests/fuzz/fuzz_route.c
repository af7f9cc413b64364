/* A method's number, then a path and a query string: matching never leaves the text, and doubled or
 * trailing slashes change nothing. */
#include "api/routes.h"

#include "tests/fuzz/fuzz_target.h"

#include <string.h>

enum {
    ARENA_BYTES = 1 << 20,
};

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

static void match_with_slashes(const char *method, const char *path, size_t length,
                               const struct route *expected) {
    struct arena arena;
    const struct route *route = NULL;
    struct route_arguments arguments;
    char allow[64];
    arena_init(&arena, ARENA_BYTES);
    char *longer = arena_alloc(&arena, length + 2);
    MUST_HOLD(longer != NULL);
    longer[0] = '/';
    memcpy(longer + 1, path, length);
    longer[length + 1] = '/';
    enum route_match match =
        routes_match(method, longer, length + 2, &arena, &route, &arguments, allow);
    MUST_HOLD(match == ROUTE_FOUND && route == expected);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const char *method = methods[data[0] % (sizeof(methods) / sizeof(methods[0]))];
    const char *path = (const char *)data + 1;
    const char *query = memchr(path, '?', size - 1);
    size_t length = query ? (size_t)(query - path) : size - 1;
    struct arena arena;
    const struct route *route = NULL;
    struct route_arguments arguments = {0};
    struct error error = {0};
    char allow[64];
    arena_init(&arena, ARENA_BYTES);
    enum route_match match = routes_match(method, path, length, &arena, &route, &arguments, allow);
    if (match == ROUTE_FOUND) {
        MUST_HOLD(route != NULL && arguments.count <= ROUTE_ARGUMENTS_MAX);
        for (size_t i = 0; i < arguments.count; i++)
            MUST_HOLD(strlen(arguments.values[i]) <= length);
        if (path[0] == '/')
            match_with_slashes(method, path, length, route);
        struct query_parameters parameters;
        const char *text = query ? query + 1 : "";
        size_t text_length = query ? size - 1 - length - 1 : 0;
        enum status status = query_parameters_read(route->parameters, text, text_length, &arena,
                                                   &parameters, &error);
        (void)status;
    }
    if (match == ROUTE_WRONG_METHOD)
        MUST_HOLD(strnlen(allow, sizeof(allow)) < sizeof(allow));
    arena_free(&arena);
    return 0;
}
