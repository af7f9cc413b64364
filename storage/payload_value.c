#include "storage/payload_value.h"

#include <assert.h>
#include <string.h>

/* The text is strict JSON, so the walk only looks for what it needs: quotes, brackets, commas.
 * Every loop is bounded by the end all the same; a text that is not JSON gives nonsense, never a
 * read outside of it. */

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* Bit 7 of each byte of word that equals the byte in all bytes of pattern. Bytes above the first
 * hit may be wrong. */
static uint64_t bytes_equal(uint64_t word, uint64_t pattern) {
    const uint64_t low = UINT64_C(0x0101010101010101);
    uint64_t difference = word ^ pattern;
    return (difference - low) & ~difference & low << 7;
}

/* The first quote or backslash from `at` on, or end. Most strings are short, so eight bytes are
 * looked at in place before memchr() is worth its call. */
static const char *find_special(const char *at, const char *end) {
    enum {
        WORDS = 4
    };
    const uint64_t low = UINT64_C(0x0101010101010101);
    for (int i = 0; i < WORDS && end - at >= 8; i++, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        uint64_t hits = bytes_equal(word, low * '"') | bytes_equal(word, low * '\\');
        if (hits)
            return at + __builtin_ctzll(hits) / 8;
    }
    while (at < end && *at != '"' && *at != '\\') {
        if (end - at > 8) {
            const char *quote = memchr(at, '"', (size_t)(end - at));
            const char *after = quote ? quote : end;
            const char *escape = memchr(at, '\\', (size_t)(after - at));
            return escape ? escape : after;
        }
        at++;
    }
    return at;
}

/* Returns what follows the string whose opening quote is at `at`. */
static const char *skip_string(const char *at, const char *end, bool *has_escapes) {
    *has_escapes = false;
    for (at++;; at += 2) {
        at = find_special(at, end);
        if (at < end && *at == '"')
            return at + 1;
        if (end - at < 2)
            return end;
        *has_escapes = true;
    }
}

static const char *skip_container(const char *at, const char *end) {
    size_t depth = 0;
    bool has_escapes;
    while (at < end) {
        switch (*at) {
        case '"':
            at = skip_string(at, end, &has_escapes);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return at + 1;
            break;
        default:
            break;
        }
        at++;
    }
    return end;
}

/* Returns what follows the value that starts at `at`; always moves on unless at the end. */
static const char *skip_value(const char *at, const char *end) {
    bool has_escapes;
    if (at == end)
        return end;
    if (*at == '"')
        return skip_string(at, end, &has_escapes);
    if (*at == '{' || *at == '[')
        return skip_container(at, end);
    do
        at++;
    while (at < end && *at != ',' && *at != '}' && *at != ']' && *at != ' ' && *at != '\n' &&
           *at != '\r' && *at != '\t');
    return at;
}

static enum payload_type type_of(char first) {
    switch (first) {
    case '{':
        return PAYLOAD_OBJECT;
    case '[':
        return PAYLOAD_ARRAY;
    case '"':
        return PAYLOAD_STRING;
    case 't':
    case 'f':
        return PAYLOAD_BOOL;
    case 'n':
        return PAYLOAD_NULL;
    default:
        return PAYLOAD_NUMBER;
    }
}

static struct payload_value value_between(const char *at, const char *after) {
    return (struct payload_value){.type = at < after ? type_of(*at) : PAYLOAD_NULL,
                                  .text = at,
                                  .length = (size_t)(after - at)};
}

struct payload_value payload_value_at(const char *text, size_t length) {
    const char *end = text + length, *at = skip_space(text, end);
    return value_between(at, skip_value(at, end));
}

/* ---- Strings -------------------------------------------------------------------------------- */

static unsigned hex4(const char *at) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)at[i];
        code = code << 4 | ((c <= '9' ? c : c + 9) & 15); /* 'A' and 'a' end in 1 */
    }
    return code;
}

static size_t put_utf8(unsigned code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Decodes the character or the byte at *at, which it moves on; returns how many bytes out has. */
static size_t decode_next(const char **at, const char *end, char out[4]) {
    const char *text = *at;
    if (*text != '\\' || end - text < 2) {
        *at = text + 1;
        out[0] = *text;
        return 1;
    }
    *at = text + 2;
    switch (text[1]) {
    case 'b':
        return put_utf8('\b', out);
    case 'f':
        return put_utf8('\f', out);
    case 'n':
        return put_utf8('\n', out);
    case 'r':
        return put_utf8('\r', out);
    case 't':
        return put_utf8('\t', out);
    case 'u':
        break;
    default:
        return put_utf8((unsigned char)text[1], out);
    }
    if (end - text < 6)
        return put_utf8('u', out);
    unsigned code = hex4(text + 2);
    *at = text + 6;
    if (code < 0xd800 || code > 0xdfff)
        return put_utf8(code, out);
    if (code <= 0xdbff && end - text >= 12 && text[6] == '\\' && text[7] == 'u') {
        unsigned low = hex4(text + 8);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *at = text + 12;
            return put_utf8(0x10000u + ((code - 0xd800) << 10) + (low - 0xdc00), out);
        }
    }
    return put_utf8(0xfffd, out); /* half a pair: validation keeps these out */
}

/* The text between the quotes; false if the value is no whole string. */
static bool string_inside(const struct payload_value *string, const char **at, const char **end) {
    if (string->type != PAYLOAD_STRING || string->length < 2)
        return false;
    *at = string->text + 1;
    *end = string->text + string->length - 1;
    return true;
}

static int compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t shorter = a_length < b_length ? a_length : b_length;
    int order = shorter ? memcmp(a, b, shorter) : 0;
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

/* Compares the decoded string between at and end with bytes. */
static int compare_string(const char *at, const char *end, const char *bytes, size_t length) {
    if (!memchr(at, '\\', (size_t)(end - at)))
        return compare_bytes(at, (size_t)(end - at), bytes, length);
    while (at < end) {
        char decoded[4];
        size_t size = decode_next(&at, end, decoded);
        int order = compare_bytes(decoded, size, bytes, size < length ? size : length);
        if (order)
            return order;
        bytes += size;
        length -= size;
    }
    return length ? -1 : 0;
}

bool payload_string_equals(const struct payload_value *string, const char *bytes, size_t length) {
    const char *at, *end;
    if (!string_inside(string, &at, &end) || (size_t)(end - at) < length)
        return false; /* an escape is never shorter than what it stands for */
    return compare_string(at, end, bytes, length) == 0;
}

size_t payload_string_decode(const struct payload_value *string, char *out) {
    const char *at, *end;
    char *start = out;
    if (!string_inside(string, &at, &end))
        return 0;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape ? escape : end) - at);
        memcpy(out, at, plain);
        out += plain;
        at += plain;
        if (escape) {
            char decoded[4];
            size_t size = decode_next(&at, end, decoded);
            memcpy(out, decoded, size);
            out += size;
        }
    }
    return (size_t)(out - start);
}

/* ---- Comparing ------------------------------------------------------------------------------ */

static bool is_true(const struct payload_value *value) {
    return *value->text == 't';
}

bool payload_value_equals(const struct payload_value *value, const struct payload_scalar *scalar) {
    if (value->type != scalar->type)
        return false;
    switch (value->type) {
    case PAYLOAD_BOOL:
        return is_true(value) == scalar->boolean;
    case PAYLOAD_NUMBER: {
        struct payload_number number = payload_number_from_text(value->text, value->length);
        return number.is_integer && scalar->number.is_integer &&
               payload_number_compare(&number, &scalar->number) == 0;
    }
    case PAYLOAD_STRING:
        return payload_string_equals(value, scalar->string, scalar->string_length);
    default:
        return false;
    }
}

static int compare_numbers(const struct payload_number *a, const struct payload_number *b) {
    int order = payload_number_compare(a, b);
    return order ? order : a->is_integer - b->is_integer;
}

int payload_value_compare(const struct payload_value *value, const struct payload_scalar *scalar) {
    if (value->type != scalar->type)
        return value->type < scalar->type ? -1 : 1;
    const char *at, *end;
    switch (value->type) {
    case PAYLOAD_BOOL:
        return is_true(value) - scalar->boolean;
    case PAYLOAD_NUMBER: {
        struct payload_number number = payload_number_from_text(value->text, value->length);
        return compare_numbers(&number, &scalar->number);
    }
    case PAYLOAD_STRING:
        if (!string_inside(value, &at, &end))
            return -1;
        return compare_string(at, end, scalar->string, scalar->string_length);
    default:
        return 0;
    }
}

int payload_scalar_compare(const struct payload_scalar *a, const struct payload_scalar *b) {
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    switch (a->type) {
    case PAYLOAD_BOOL:
        return a->boolean - b->boolean;
    case PAYLOAD_NUMBER:
        return compare_numbers(&a->number, &b->number);
    case PAYLOAD_STRING:
        return compare_bytes(a->string, a->string_length, b->string, b->string_length);
    default:
        return 0;
    }
}

bool payload_value_datetime(const struct payload_value *value, int64_t *microseconds) {
    enum {
        ESCAPED_MAX = 128 /* raw bytes of a date written with escapes; nobody writes even one */
    };
    const char *at, *end;
    if (!string_inside(value, &at, &end))
        return false;
    if (!memchr(at, '\\', (size_t)(end - at)))
        return payload_datetime_parse(at, (size_t)(end - at), microseconds);
    char decoded[ESCAPED_MAX];
    if (value->length > sizeof(decoded))
        return false;
    return payload_datetime_parse(decoded, payload_string_decode(value, decoded), microseconds);
}

/* ---- Walking -------------------------------------------------------------------------------- */

/* Compares a key without escapes. */
static bool is_plain_key(const struct payload_value *key, const struct path_step *step) {
    return key->length == step->key_length + 2 &&
           memcmp(key->text + 1, step->key, step->key_length) == 0;
}

/* Finds the last member of the object with this key. */
static bool find_member(const struct payload_value *object, const struct path_step *step,
                        struct payload_value *found) {
    const char *at = object->text + 1, *end = object->text + object->length;
    bool is_found = false;
    for (;;) {
        at = skip_space(at, end);
        if (at < end && *at == ',')
            at = skip_space(at + 1, end);
        if (at == end || *at != '"')
            return is_found;
        bool has_escapes;
        struct payload_value key = {.type = PAYLOAD_STRING, .text = at};
        at = skip_string(at, end, &has_escapes);
        key.length = (size_t)(at - key.text);
        at = skip_space(at, end);
        if (at < end && *at == ':')
            at = skip_space(at + 1, end);
        const char *after = skip_value(at, end);
        if (has_escapes ? payload_string_equals(&key, step->key, step->key_length)
                        : is_plain_key(&key, step)) {
            *found = value_between(at, after);
            is_found = true;
        }
        at = after;
    }
}

/* Moves *at over the next element of an array; false if there is none. */
static bool next_element(const char **at, const char *end, struct payload_value *element) {
    const char *start = skip_space(*at, end);
    if (start < end && *start == ',')
        start = skip_space(start + 1, end);
    if (start == end || *start == ']')
        return false;
    *at = skip_value(start, end);
    *element = value_between(start, *at);
    return true;
}

bool payload_array_each(const struct payload_value *array, payload_visit_fn *visit, void *context) {
    if (array->type != PAYLOAD_ARRAY)
        return false;
    const char *at = array->text + 1, *end = array->text + array->length;
    struct payload_value element;
    while (next_element(&at, end, &element)) {
        if (visit(context, &element))
            return true;
    }
    return false;
}

static bool find_element(const struct payload_value *array, uint32_t index,
                         struct payload_value *found) {
    const char *at = array->text + 1, *end = array->text + array->length;
    uint32_t i = 0;
    while (next_element(&at, end, found)) {
        if (i++ == index)
            return true;
    }
    return false;
}

/* What remains of a path below the value that it is applied to. */
struct walk {
    const struct path_step *steps;
    size_t count;
    payload_visit_fn *visit;
    void *context;
};

/* Recurses once for each `[]` of the path: at most PAYLOAD_PATH_STEPS_MAX deep. */
static bool walk_value(void *context, const struct payload_value *value) {
    struct walk walk = *(const struct walk *)context;
    struct payload_value at = *value;
    for (; walk.count; walk.steps++, walk.count--) {
        struct payload_value next;
        switch (walk.steps->kind) {
        case PATH_STEP_KEY:
            if (at.type != PAYLOAD_OBJECT || !find_member(&at, walk.steps, &next))
                return false;
            break;
        case PATH_STEP_INDEX:
            if (at.type != PAYLOAD_ARRAY || !find_element(&at, walk.steps->index, &next))
                return false;
            break;
        case PATH_STEP_ALL:
            walk.steps++;
            walk.count--;
            return payload_array_each(&at, walk_value, &walk);
        }
        at = next;
    }
    return walk.visit(walk.context, &at);
}

bool payload_each(const char *payload, size_t length, const struct payload_path *path,
                  payload_visit_fn *visit, void *context) {
    assert(path->count <= PAYLOAD_PATH_STEPS_MAX);
    struct walk walk = {path->steps, path->count, visit, context};
    const struct payload_value whole = payload_value_at(payload, length);
    return walk_value(&walk, &whole);
}

static bool visit_elements(void *context, const struct payload_value *value) {
    const struct walk *walk = context;
    return value->type == PAYLOAD_ARRAY ? payload_array_each(value, walk->visit, walk->context)
                                        : walk->visit(walk->context, value);
}

bool payload_each_element(const char *payload, size_t length, const struct payload_path *path,
                          payload_visit_fn *visit, void *context) {
    struct walk inner = {NULL, 0, visit, context};
    return payload_each(payload, length, path, visit_elements, &inner);
}
