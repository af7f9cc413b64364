#include "api/routes.h"

#include "api/answers.h"
#include "api/collection_shapes.h"
#include "api/handlers.h"
#include "api/percent.h"
#include "api/query_shapes.h"
#include "api/update_shapes.h"

#include <assert.h>
#include <string.h>

#define C      "/collections/{collection_name}"
#define PUBLIC ACCESS_PUBLIC
#define READ   ACCESS_READ
#define WRITE  ACCESS_WRITE

/* Method, path, right, shape of the body, handler, answer, summary, query
 * parameters. Where a literal and
 * an argument could both match, the first row that does is taken. */
#define ROUTE(method_, pattern_, access_, request_, handle_, answer_, summary_, parameters_)    \
    {                                                                                           \
        .method = (method_), .pattern = (pattern_), .access = (access_), .request = (request_), \
        .handle = (handle_), .answer = &(answer_), .summary = (summary_),                       \
        .parameters = PARAMETERS_##parameters_                                                  \
    }

const struct route routes[] = {
    /* clang-format off */
    ROUTE("GET", "/", PUBLIC, NULL, handle_root, answers_version, "Title and version", NONE),
    ROUTE("GET", "/healthz", PUBLIC, NULL, handle_health, answers_text, "Is the process alive?", NONE),
    ROUTE("GET", "/livez", PUBLIC, NULL, handle_health, answers_text, "Is the process alive?", NONE),
    ROUTE("GET", "/readyz", PUBLIC, NULL, handle_ready, answers_text, "Does it take reads and writes?", NONE),
    ROUTE("GET", "/metrics", READ, NULL, handle_metrics, answers_text, "Figures in Prometheus' text form", SERVICE),
    ROUTE("GET", "/telemetry", READ, NULL, handle_telemetry, answers_telemetry, "What this server is", SERVICE),
    ROUTE("GET", "/issues", READ, NULL, handle_issues, answers_issues, "Open issues: none are reported here", NONE),
    ROUTE("DELETE", "/issues", WRITE, NULL, handle_issues_clear, answers_boolean, "Clear issues", NONE),
    ROUTE("GET", "/openapi.json", READ, NULL, handle_openapi, answers_document, "This document", NONE),
    ROUTE("GET", "/cluster", READ, NULL, handle_cluster, answers_cluster, "Cluster status: a single node", NONE),
    ROUTE("GET", "/aliases", READ, NULL, handle_aliases, answers_aliases, "All aliases", NONE),

    ROUTE("GET", "/collections", READ, NULL, handle_collections_list, answers_collections, "Names of collections", NONE),
    ROUTE("GET", C, READ, NULL, handle_collection_info, answers_collection, "Describe a collection", NONE),
    ROUTE("PUT", C, WRITE, &collection_create_shape, handle_collection_create, answers_boolean, "Create a collection", COLLECTION),
    ROUTE("PATCH", C, WRITE, &collection_patch_shape, handle_collection_update, answers_boolean, "Change the options of a collection", COLLECTION),
    ROUTE("DELETE", C, WRITE, NULL, handle_collection_delete, answers_boolean, "Delete a collection", COLLECTION),
    ROUTE("GET", C "/exists", READ, NULL, handle_collection_exists, answers_exists, "Does a collection exist?", NONE),
    ROUTE("GET", C "/aliases", READ, NULL, handle_collection_aliases, answers_aliases, "Aliases of a collection", NONE),
    ROUTE("GET", C "/cluster", READ, NULL, handle_collection_cluster, answers_collection_cluster, "Shards of a collection", NONE),

    ROUTE("PUT", C "/index", WRITE, &handle_index_shape, handle_index_create, answers_update, "Create a payload index", WRITE),
    ROUTE("DELETE", C "/index/{field_name}", WRITE, NULL, handle_index_delete, answers_update, "Drop a payload index", WRITE),

    ROUTE("PUT", C "/points", WRITE, &update_upsert_shape, handle_upsert, answers_update, "Insert or replace points", WRITE),
    ROUTE("POST", C "/points", READ, &handle_points_retrieve_shape, handle_points_retrieve, answers_records, "Points by their ids", READ),
    ROUTE("GET", C "/points/{id}", READ, NULL, handle_point_get, answers_record, "One point", READ),
    ROUTE("POST", C "/points/delete", WRITE, &update_selector_shape, handle_delete, answers_update, "Delete points", WRITE),
    ROUTE("PUT", C "/points/vectors", WRITE, &update_vectors_shape, handle_update_vectors, answers_update, "Replace vectors of points", WRITE),
    ROUTE("POST", C "/points/vectors/delete", WRITE, &update_vector_names_shape, handle_delete_vectors, answers_update, "Delete vectors of points", WRITE),
    ROUTE("POST", C "/points/payload", WRITE, &update_payload_shape, handle_set_payload, answers_update, "Merge into payloads", WRITE),
    ROUTE("PUT", C "/points/payload", WRITE, &update_payload_shape, handle_overwrite_payload, answers_update, "Replace payloads", WRITE),
    ROUTE("POST", C "/points/payload/delete", WRITE, &update_payload_keys_shape, handle_delete_payload, answers_update, "Delete keys of payloads", WRITE),
    ROUTE("POST", C "/points/payload/clear", WRITE, &update_selector_shape, handle_clear_payload, answers_update, "Clear payloads", WRITE),
    ROUTE("POST", C "/points/batch", WRITE, &update_batch_shape, handle_update_batch, answers_update_list, "Several updates as one", WRITE),
    ROUTE("POST", C "/points/scroll", READ, &handle_points_scroll_shape, handle_points_scroll, answers_scroll, "Points in the order of their ids", READ),
    ROUTE("POST", C "/points/count", READ, &handle_points_count_shape, handle_points_count, answers_count, "How many points match", READ),

    ROUTE("POST", C "/points/query", READ, &query_shapes_query, handle_query, answers_query, "Nearest points", READ),
    ROUTE("POST", C "/points/query/batch", READ, &query_shapes_query_batch, handle_query_batch, answers_query_list, "Several queries", READ),
    ROUTE("POST", C "/points/search", READ, &query_shapes_search, handle_search, answers_scored, "Nearest points (legacy)", READ),
    ROUTE("POST", C "/points/search/batch", READ, &query_shapes_search_batch, handle_search_batch, answers_scored_list, "Several searches (legacy)", READ),
    /* clang-format on */
};
const size_t routes_count = sizeof(routes) / sizeof(routes[0]);

/* ---- Matching -------------------------------------------------------------------------------- */

struct segments {
    const char *values[ROUTE_SEGMENTS_MAX];
    size_t count;
};

/* Splits and decodes a path; empty segments (slashes that are doubled or trail) do not count. */
static enum route_match split_path(const char *path, size_t length, struct arena *arena,
                                   struct segments *segments) {
    const char *at = path, *end = path + length;
    segments->count = 0;
    while (at < end) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        size_t part = (size_t)((slash ? slash : end) - at);
        char *decoded;
        if (part > 0) {
            if (segments->count == ROUTE_SEGMENTS_MAX ||
                !percent_decode(at, part, false, arena, &decoded))
                return ROUTE_BAD_PATH;
            if (!decoded)
                return ROUTE_NO_MEMORY;
            segments->values[segments->count++] = decoded;
        }
        at += part + (slash != NULL);
    }
    return ROUTE_FOUND;
}

/* True if the pattern's segments are those of the path; {..} takes any. */
static bool pattern_matches(const char *pattern, const struct segments *segments,
                            struct route_arguments *arguments) {
    size_t i = 0;
    arguments->count = 0;
    while (*pattern) {
        pattern++; /* the slash */
        if (*pattern == '\0')
            break; /* "/" alone */
        if (i == segments->count)
            return false;
        const char *value = segments->values[i++];
        if (*pattern == '{') {
            assert(arguments->count < ROUTE_ARGUMENTS_MAX);
            arguments->values[arguments->count++] = value;
            pattern = strchrnul(pattern, '/');
            continue;
        }
        /* Byte by byte: segments are shorter than what a call of strcspn() sets up. */
        while (*pattern != '\0' && *pattern != '/' && *pattern == *value) {
            pattern++;
            value++;
        }
        if (*value != '\0' || (*pattern != '\0' && *pattern != '/'))
            return false;
    }
    return i == segments->count;
}

static bool method_matches(const struct route *route, const char *method) {
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void add_allowed(char allow[64], const char *method) {
    size_t used = strlen(allow);
    if (used > 0) {
        strncat(allow, ", ", 64 - used - 1);
        used = strlen(allow);
    }
    strncat(allow, method, 64 - used - 1);
    if (strcmp(method, "GET") == 0)
        add_allowed(allow, "HEAD");
}

enum route_match routes_match(const char *method, const char *path, size_t path_length,
                              struct arena *arena, const struct route **route,
                              struct route_arguments *arguments, char allow[64]) {
    struct segments segments;
    enum route_match outcome = split_path(path, path_length, arena, &segments);
    if (outcome != ROUTE_FOUND)
        return outcome;
    outcome = ROUTE_NOT_FOUND;
    allow[0] = '\0';
    for (size_t i = 0; i < routes_count; i++) {
        struct route_arguments found;
        if (!pattern_matches(routes[i].pattern, &segments, &found))
            continue;
        if (method_matches(&routes[i], method)) {
            *route = &routes[i];
            *arguments = found;
            return ROUTE_FOUND;
        }
        /* A method stands once, though GET /points/{id} is beside POST /points/scroll. */
        if (!strstr(allow, routes[i].method))
            add_allowed(allow, routes[i].method);
        outcome = ROUTE_WRONG_METHOD;
    }
    return outcome;
}
