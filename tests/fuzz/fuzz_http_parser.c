/* Bytes of a connection, whole and in pieces: the events, the heads and the bodies of whole
 * messages must be the same. The first byte of the input sets the size of the pieces. */
#include "server/http_parser.h"

#include "tests/fuzz/fuzz_target.h"

#include <string.h>

enum {
    EVENTS_MAX = 64,
    BODY_BYTES_MAX = 1 << 20,
};

/* What came of the bytes, as numbers that compare. */
struct story {
    uint64_t hash;
    uint64_t body; /* of the message that is coming in; told when it is whole */
    size_t events;
};

static uint64_t mix(uint64_t hash, const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

static void tell(struct story *story, const void *bytes, size_t length) {
    story->hash = mix(story->hash, bytes, length);
}

static void on_body(void *context, const char *bytes, size_t length) {
    struct story *story = context;
    story->body = mix(story->body, bytes, length);
}

static void tell_head(struct story *story, const struct http_head *head) {
    const struct http_text texts[] = {head->path, head->query, head->host, head->api_key};
    tell(story, head->method, strlen(head->method));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        tell(story, texts[i].bytes, texts[i].bytes ? texts[i].length : 0);
    tell(story, &head->content_length, sizeof(head->content_length));
}

/* True if the parser takes no more. */
static bool feed(struct http_parser *parser, const char *bytes, size_t length,
                 struct story *story) {
    while (length > 0) {
        size_t consumed = 0;
        struct http_head head;
        enum http_event event = http_parser_feed(parser, bytes, length, &consumed, &head);
        MUST_HOLD(consumed <= length);
        bytes += consumed;
        length -= consumed;
        if (event == HTTP_EVENT_MORE)
            continue;
        tell(story, &event, sizeof(event));
        if (event == HTTP_EVENT_REFUSED)
            tell(story, &parser->refusal.http_status, sizeof(parser->refusal.http_status));
        if (event == HTTP_EVENT_REFUSED || ++story->events == EVENTS_MAX)
            return true;
        if (event == HTTP_EVENT_HEAD) {
            tell_head(story, &head);
            http_parser_set_body_max(parser, BODY_BYTES_MAX);
            story->body = 1;
        }
        if (event == HTTP_EVENT_COMPLETE)
            tell(story, &story->body, sizeof(story->body));
    }
    return false;
}

static struct story parse(const char *bytes, size_t length, size_t piece) {
    struct story story = {.hash = 1};
    struct http_parser parser;
    http_parser_init(&parser, on_body, &story);
    for (size_t at = 0; at < length; at += piece)
        if (feed(&parser, bytes + at, length - at < piece ? length - at : piece, &story))
            break;
    http_parser_free(&parser);
    return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t piece = data[0] == 0 ? 1 : data[0];
    struct story whole = parse(bytes, size - 1, size);
    struct story pieces = parse(bytes, size - 1, piece);
    MUST_HOLD(whole.hash == pieces.hash && whole.events == pieces.events);
    return 0;
}
