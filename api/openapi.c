#include "api/openapi.h"

#include "api/answers.h"
#include "api/filter_json.h"
#include "api/json_schema.h"
#include "api/point_json.h"
#include "api/routes.h"
#include "api/vector_params.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- One operation --------------------------------------------------------------------------- */

/* "get_collections_collection_name_points": unique, since method and path are. */
static void write_operation_id(struct json_writer *writer, const struct route *route) {
    char id[160];
    size_t used = 0;
    bool was_letter = true;
    for (const char *at = route->method; *at && used < sizeof(id); at++)
        id[used++] = (char)tolower((unsigned char)*at);
    for (const char *at = route->pattern; *at && used < sizeof(id) - 1; at++) {
        bool is_letter = isalnum((unsigned char)*at) || *at == '_';
        if (is_letter && !was_letter)
            id[used++] = '_';
        if (is_letter)
            id[used++] = *at;
        was_letter = is_letter;
    }
    json_write_key(writer, "operationId");
    json_write_bytes(writer, id, used);
}

static void write_path_parameters(struct json_writer *writer, const char *pattern) {
    while ((pattern = strchr(pattern, '{')) != NULL) {
        size_t length = strcspn(++pattern, "}");
        json_write_open(writer, '{');
        json_write_key(writer, "name");
        json_write_bytes(writer, pattern, length);
        json_write_key_string(writer, "in", "path");
        json_write_key_bool(writer, "required", true);
        json_write_key(writer, "schema");
        json_write_raw(writer, "{\"type\":\"string\"}", 17);
        json_write_close(writer, '}');
        pattern += length;
    }
}

static void write_body(struct json_writer *writer, const struct json_shape *shape) {
    json_write_key(writer, "requestBody");
    json_write_open(writer, '{');
    json_write_key_bool(writer, "required", true);
    json_write_key(writer, "content");
    json_write_open(writer, '{');
    json_write_key(writer, "application/json");
    json_write_open(writer, '{');
    json_write_key(writer, "schema");
    json_schema_reference(writer, shape);
    json_write_close(writer, '}');
    json_write_close(writer, '}');
    json_write_close(writer, '}');
}

/* The schema of a whole answer: within the envelope, if it has one. */
static void write_answer_schema(struct json_writer *writer, const struct answer *answer) {
    if (answer->form != ANSWER_RESULT) {
        json_schema_custom(writer, &answer->schema);
        return;
    }
    json_write_open(writer, '{');
    json_write_key_string(writer, "type", "object");
    json_write_key(writer, "properties");
    json_write_open(writer, '{');
    json_write_key(writer, "result");
    json_schema_custom(writer, &answer->schema);
    json_write_key(writer, "status");
    json_write_raw(writer, "{\"type\":\"string\"}", 17);
    json_write_key(writer, "time");
    json_write_raw(writer, "{\"type\":\"number\"}", 17);
    json_write_close(writer, '}');
    json_write_close(writer, '}');
}

static void write_responses(struct json_writer *writer, const struct route *route) {
    static const char error[] =
        "{\"description\":\"An error\",\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
        "\"#/components/schemas/ErrorResponse\"}}}}";
    bool is_text = route->answer->form == ANSWER_TEXT;
    json_write_key(writer, "responses");
    json_write_open(writer, '{');
    json_write_key(writer, "200");
    json_write_open(writer, '{');
    json_write_key_string(writer, "description", "Success");
    json_write_key(writer, "content");
    json_write_open(writer, '{');
    json_write_key(writer, is_text ? "text/plain" : "application/json");
    json_write_open(writer, '{');
    json_write_key(writer, "schema");
    write_answer_schema(writer, route->answer);
    json_write_close(writer, '}');
    json_write_close(writer, '}');
    json_write_close(writer, '}');
    json_write_key(writer, "default");
    json_write_raw(writer, error, sizeof(error) - 1);
    json_write_close(writer, '}');
}

static void write_operation(struct json_writer *writer, const struct route *route) {
    char method[16];
    size_t length = 0;
    for (; length < sizeof(method) - 1 && route->method[length]; length++)
        method[length] = (char)tolower((unsigned char)route->method[length]);
    method[length] = '\0';
    json_write_key(writer, method);
    json_write_open(writer, '{');
    json_write_key_string(writer, "summary", route->summary);
    write_operation_id(writer, route);
    json_write_key(writer, "parameters");
    json_write_open(writer, '[');
    write_path_parameters(writer, route->pattern);
    query_parameters_describe(writer, route->parameters);
    json_write_close(writer, ']');
    if (route->request)
        write_body(writer, route->request);
    write_responses(writer, route);
    json_write_close(writer, '}');
}

/* ---- The document ---------------------------------------------------------------------------- */

/* A path is written with its first row, all its methods together. */
static bool is_first_of_path(size_t row) {
    for (size_t i = 0; i < row; i++) {
        if (strcmp(routes[i].pattern, routes[row].pattern) == 0)
            return false;
    }
    return true;
}

static void write_paths(struct json_writer *writer) {
    json_write_key(writer, "paths");
    json_write_open(writer, '{');
    for (size_t row = 0; row < routes_count; row++) {
        if (!is_first_of_path(row))
            continue;
        json_write_key(writer, routes[row].pattern);
        json_write_open(writer, '{');
        for (size_t i = row; i < routes_count; i++) {
            if (strcmp(routes[i].pattern, routes[row].pattern) == 0)
                write_operation(writer, &routes[i]);
        }
        json_write_close(writer, '}');
    }
    json_write_close(writer, '}');
}

static const struct json_custom error_response = {
    .name = "ErrorResponse",
    .schema = "{\"type\":\"object\",\"required\":[\"status\",\"time\"],\"properties\":{\"status\":{"
              "\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":"
              "\"string\"}}},\"time\":{\"type\":\"number\"}}}",
};

/* Schemas that only the text of others refers to. */
static const struct json_custom *const referred[] = {
    &error_response,       &filter_json_conditions, &filter_json_condition,    &point_json_vector,
    &answers_record_point, &answers_scored_point,   &vector_params_patch_json,
};

enum status openapi_write(struct json_writer *writer, struct arena *arena, struct error *error) {
    struct json_schema_set *set = arena_alloc(arena, sizeof(*set));
    if (!set)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    *set = (struct json_schema_set){.shapes_count = 0};
    for (size_t i = 0; i < routes_count; i++) {
        if (routes[i].request)
            json_schema_collect(set, routes[i].request);
        json_schema_collect_custom(set, &routes[i].answer->schema);
    }
    json_schema_collect(set, &collection_document_shape);
    for (size_t i = 0; i < sizeof(referred) / sizeof(referred[0]); i++)
        json_schema_collect_custom(set, referred[i]);
    json_write_open(writer, '{');
    json_write_key_string(writer, "openapi", "3.0.3");
    json_write_key(writer, "info");
    json_write_open(writer, '{');
    json_write_key_string(writer, "title", "nigh");
    json_write_key_string(writer, "version", "1.19.0");
    json_write_key_string(writer, "description",
                          "A vector database that speaks the REST API of Qdrant 1.19.");
    json_write_close(writer, '}');
    write_paths(writer);
    json_write_key(writer, "components");
    json_write_open(writer, '{');
    json_write_key(writer, "schemas");
    json_schema_components(writer, set);
    json_write_close(writer, '}');
    json_write_close(writer, '}');
    return STATUS_OK;
}
