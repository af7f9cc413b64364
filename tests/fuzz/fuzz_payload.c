/* A path, a line feed, and a payload: walking and comparing never leave the text, and a number's
 * order agrees with that of its double. */
#include "storage/json_reader.h"
#include "storage/payload_value.h"

#include "tests/fuzz/fuzz_target.h"

#include <math.h>
#include <string.h>

enum {
    ARENA_BYTES = 16 << 20,
};

struct walk {
    const char *begin, *end;
    struct payload_number last;
    double last_double;
    bool has_last;
};

static void check_number(struct walk *walk, const struct payload_value *value) {
    char copy[400];
    if (value->length >= sizeof(copy))
        return;
    memcpy(copy, value->text, value->length);
    copy[value->length] = '\0';
    double number = strtod(copy, NULL);
    struct payload_number key = payload_number_from_text(value->text, value->length);
    MUST_HOLD(payload_number_compare(&key, &key) == 0);
    if (walk->has_last && isfinite(number) && isfinite(walk->last_double)) {
        int order = payload_number_compare(&walk->last, &key);
        /* Doubles that differ decide; equal ones may hide integers that differ. */
        if (walk->last_double < number)
            MUST_HOLD(order < 0);
        if (walk->last_double > number)
            MUST_HOLD(order > 0);
    }
    walk->last = key;
    walk->last_double = number;
    walk->has_last = true;
}

static bool visit(void *context, const struct payload_value *value) {
    struct walk *walk = context;
    MUST_HOLD(value->text >= walk->begin && value->text + value->length <= walk->end);
    if (value->type == PAYLOAD_NUMBER)
        check_number(walk, value);
    if (value->type == PAYLOAD_STRING) {
        char *decoded = malloc(value->length);
        MUST_HOLD(decoded != NULL);
        size_t length = payload_string_decode(value, decoded);
        MUST_HOLD(length <= value->length);
        MUST_HOLD(payload_string_equals(value, decoded, length));
        int64_t microseconds;
        payload_value_datetime(value, &microseconds);
        payload_datetime_parse(decoded, length, &microseconds);
        free(decoded);
    }
    if (value->type == PAYLOAD_ARRAY)
        payload_array_each(value, visit, context);
    return false;
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
    struct payload_path path;
    struct error error = {0};
    const char *payload = line + 1;
    size_t length = size - (size_t)(payload - text);
    struct walk walk = {.begin = payload, .end = payload + length};
    arena_init(&arena, ARENA_BYTES);
    if (payload_path_parse(text, (size_t)(line - text), &arena, &path, &error) == STATUS_OK) {
        MUST_HOLD(path.count >= 1 && path.count <= PAYLOAD_PATH_STEPS_MAX);
        if (is_object(payload, length, &arena)) {
            payload_each(payload, length, &path, visit, &walk);
            payload_each_element(payload, length, &path, visit, &walk);
        }
    }
    arena_free(&arena);
    return 0;
}
