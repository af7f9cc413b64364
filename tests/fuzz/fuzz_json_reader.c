/* Arbitrary bytes as JSON: what the reader skips it must also be able to read piece by piece, with
 * numbers as strtod() reads them. */
#include "storage/json_reader.h"

#include "tests/fuzz/fuzz_target.h"

#include <math.h>
#include <string.h>

enum {
    ARENA_BYTES = 16 << 20,
};

static void read_value(struct json_reader *reader);

static void must(enum status status) {
    MUST_HOLD(status == STATUS_OK || status == STATUS_NO_MEMORY);
}

/* A number that overflows a double is well-formed JSON but no double. */
static void read_number(struct json_reader *reader) {
    const char *text;
    size_t length;
    struct json_reader again = *reader;
    double value;
    must(json_read_raw(&again, &text, &length));
    char copy[512];
    bool is_short = length < sizeof(copy);
    if (is_short) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    double expected = is_short ? strtod(copy, NULL) : 0;
    if (json_read_f64(reader, &value) != STATUS_OK) {
        MUST_HOLD(!is_short || !isfinite(expected));
        *reader = again;
        return;
    }
    MUST_HOLD(isfinite(value));
    if (is_short)
        MUST_HOLD(value == expected && !signbit(value) == !signbit(expected));
}

static void read_object(struct json_reader *reader) {
    struct json_text key;
    bool more;
    must(json_open_object(reader));
    for (;;) {
        enum status status = json_next_key(reader, &key, &more);
        must(status);
        if (status != STATUS_OK || !more)
            return;
        read_value(reader);
    }
}

static void read_array(struct json_reader *reader) {
    bool more;
    must(json_open_array(reader));
    for (;;) {
        enum status status = json_next_item(reader, &more);
        must(status);
        if (status != STATUS_OK || !more)
            return;
        read_value(reader);
    }
}

/* Recursion is bounded by the depth that json_read_raw() let pass. */
static void read_value(struct json_reader *reader) {
    struct json_text text;
    bool boolean;
    switch (json_reader_peek(reader)) {
    case JSON_TYPE_NULL:
        must(json_read_null(reader));
        break;
    case JSON_TYPE_BOOL:
        must(json_read_bool(reader, &boolean));
        break;
    case JSON_TYPE_NUMBER:
        read_number(reader);
        break;
    case JSON_TYPE_STRING:
        must(json_read_text(reader, &text));
        break;
    case JSON_TYPE_ARRAY:
        read_array(reader);
        break;
    case JSON_TYPE_OBJECT:
        read_object(reader);
        break;
    case JSON_TYPE_END:
        abort();
    }
}

static void read_floats(const char *text, size_t size, struct arena *arena) {
    struct json_reader reader;
    struct error error = {0};
    float *values;
    size_t count;
    json_reader_init(&reader, text, size, arena, &error);
    if (json_read_floats(&reader, 65536, &values, &count) == STATUS_OK)
        for (size_t i = 0; i < count; i++)
            MUST_HOLD(isfinite(values[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct json_reader reader;
    struct error error = {0};
    const char *text = (const char *)data, *raw;
    size_t length;
    arena_init(&arena, ARENA_BYTES);
    json_reader_init(&reader, text, size, &arena, &error);
    if (json_read_raw(&reader, &raw, &length) == STATUS_OK && json_read_end(&reader) == STATUS_OK) {
        MUST_HOLD(raw >= text && raw + length <= text + size);
        json_reader_init(&reader, text, size, &arena, &error);
        read_value(&reader);
    }
    read_floats(text, size, &arena);
    arena_free(&arena);
    return 0;
}
