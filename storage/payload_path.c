#include "storage/payload_path.h"

#include "storage/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Grammar, as Qdrant's, where bare keys may also hold any character beyond ASCII, and quoted keys
 * may hold \" and \\ so that every key can be named:
 *   path  = key *( "." key / "[" [digits] "]" )
 *   key   = 1*( letter / digit / "_" / "-" / beyond ASCII ) / DQUOTE *( character / escape ) DQUOTE
 */
struct parser {
    const char *at, *end;
    char *keys; /* room for every decoded key */
    struct path_step steps[PAYLOAD_PATH_STEPS_MAX];
    size_t count;
};

static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (unsigned char)c >= 0x80;
}

/* Returns what is wrong, or NULL. */
static const char *take_quoted(struct parser *parser, struct path_step *step) {
    char *out = parser->keys;
    parser->at++;
    for (;;) {
        if (parser->at == parser->end)
            return "a quoted key has no end";
        char c = *parser->at++;
        if (c == '"')
            break;
        if (c == '\\') {
            if (parser->at == parser->end || (*parser->at != '"' && *parser->at != '\\'))
                return "in a quoted key, \\ stands only before \" or \\";
            c = *parser->at++;
        }
        *out++ = c;
    }
    step->key = parser->keys;
    step->key_length = (size_t)(out - parser->keys);
    parser->keys = out;
    return NULL;
}

static const char *take_key(struct parser *parser, struct path_step *step) {
    step->kind = PATH_STEP_KEY;
    if (parser->at < parser->end && *parser->at == '"')
        return take_quoted(parser, step);
    char *out = parser->keys;
    while (parser->at < parser->end && is_bare(*parser->at))
        *out++ = *parser->at++;
    if (out == parser->keys)
        return "expected a key: letters, digits, _ and -, or any text in double quotes";
    step->key = parser->keys;
    step->key_length = (size_t)(out - parser->keys);
    parser->keys = out;
    return NULL;
}

static const char *take_bracket(struct parser *parser, struct path_step *step) {
    parser->at++;
    const char *digits = parser->at;
    uint64_t index = 0;
    while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9') {
        /* Saturates: no payload has so long an array. */
        index = index * 10 + (uint64_t)(*parser->at++ - '0');
        index = index < UINT32_MAX ? index : UINT32_MAX;
    }
    if (parser->at == parser->end || *parser->at != ']')
        return "expected [], or digits between brackets";
    step->kind = parser->at == digits ? PATH_STEP_ALL : PATH_STEP_INDEX;
    step->index = (uint32_t)index;
    parser->at++;
    return NULL;
}

static const char *take_step(struct parser *parser) {
    if (parser->count == PAYLOAD_PATH_STEPS_MAX)
        return "too many steps";
    struct path_step *step = &parser->steps[parser->count];
    *step = (struct path_step){.kind = PATH_STEP_KEY};
    bool is_first = parser->count++ == 0;
    if (is_first)
        return take_key(parser, step);
    if (*parser->at == '[')
        return take_bracket(parser, step);
    if (*parser->at != '.')
        return "expected . or [ after a key";
    parser->at++;
    return take_key(parser, step);
}

enum status payload_path_parse(const char *text, size_t length, struct arena *arena,
                               struct payload_path *path, struct error *error) {
    if (length == 0)
        return error_set(error, STATUS_INVALID, "a payload path must not be empty");
    if (length > PAYLOAD_PATH_BYTES_MAX)
        return error_set(error, STATUS_INVALID,
                         "a payload path has %zu bytes, at most %d are allowed", length,
                         PAYLOAD_PATH_BYTES_MAX);
    if (!utf8_is_valid(text, length) || memchr(text, '\0', length))
        return error_set(error, STATUS_INVALID, "a payload path must be UTF-8 without NUL");

    char *copy = arena_text(arena, text, length);
    char *keys = arena_alloc(arena, length);
    if (!copy || !keys)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    struct parser parser = {.at = text, .end = text + length, .keys = keys};
    do {
        const char *wrong = take_step(&parser);
        if (wrong)
            return error_set(error, STATUS_INVALID, "invalid payload path `%s`: %s (byte %zu)",
                             copy, wrong, (size_t)(parser.at - text));
    } while (parser.at < parser.end);

    struct path_step *steps = arena_alloc(arena, parser.count * sizeof(*steps));
    if (!steps)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    memcpy(steps, parser.steps, parser.count * sizeof(*steps));
    *path = (struct payload_path){
        .text = copy, .text_length = length, .steps = steps, .count = parser.count};
    return STATUS_OK;
}
