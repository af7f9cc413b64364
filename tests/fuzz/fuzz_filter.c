/* A filter, a line feed, and a payload: reading and evaluating any of both. A filter within a
 * must_not says the opposite of the filter. */
#include "api/filter_json.h"

#include "tests/fuzz/fuzz_target.h"

#include <string.h>

enum {
    ARENA_BYTES = 16 << 20,
};

static bool has_vector(const void *context, const char *name) {
    (void)context;
    return name[0] == '\0';
}

static bool is_object(const char *text, size_t length, struct arena *arena) {
    struct json_reader reader;
    struct error error = {0};
    const char *raw;
    size_t raw_length;
    json_reader_init(&reader, text, length, arena, &error);
    return json_reader_peek(&reader) == JSON_TYPE_OBJECT &&
           json_read_raw(&reader, &raw, &raw_length) == STATUS_OK &&
           json_read_end(&reader) == STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const char *line = size ? memchr(text, '\n', size) : NULL;
    if (line == NULL)
        return 0;
    struct arena arena;
    struct json_reader reader;
    struct error error = {0};
    const struct filter *filter = NULL;
    const char *payload = line + 1;
    size_t length = size - (size_t)(payload - text);
    arena_init(&arena, ARENA_BYTES);
    json_reader_init(&reader, text, (size_t)(line - text), &arena, &error);
    if (filter_json.read(&reader, &filter) == STATUS_OK && filter != NULL &&
        is_object(payload, length, &arena)) {
        const struct point_id id = {.kind = POINT_ID_NUMBER, .number = 7};
        const struct filter_subject subject = {
            .id = &id, .payload = payload, .payload_length = length, .has_vector = has_vector};
        struct condition inner = {.kind = CONDITION_FILTER, .filter = filter};
        const struct filter not_filter = {.must_not = {.items = &inner, .count = 1}};
        MUST_HOLD(filter_matches(filter, &subject) != filter_matches(&not_filter, &subject));
    }
    arena_free(&arena);
    return 0;
}
