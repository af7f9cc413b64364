#include "server/http_parser.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARTIAL_BYTES_FIRST = 1024,
};

static enum http_event refuse(struct http_parser *parser, unsigned http_status, const char *text) {
    parser->refusal = (struct http_refusal){.http_status = http_status, .text = text};
    parser->state = HTTP_PARSER_REFUSED;
    return HTTP_EVENT_REFUSED;
}

/* ---- llhttp --------------------------------------------------------------------------------- */

static int on_headers_complete(llhttp_t *llhttp) {
    struct http_parser *parser = llhttp->data;
    llhttp->upgrade = 0; /* Upgrade is an offer, and we decline it by going on */
    /* Here, since a message without body ends next, and llhttp forgets with it. */
    parser->is_keep_alive = llhttp_should_keep_alive(llhttp) != 0;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length) {
    struct http_parser *parser = llhttp->data;
    parser->on_body(parser->context, at, length);
    return 0;
}

static int on_message_complete(llhttp_t *llhttp) {
    struct http_parser *parser = llhttp->data;
    parser->is_complete = true;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void start_message(struct http_parser *parser) {
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    assert(parser->llhttp.lenient_flags == 0);
    parser->llhttp.data = parser;
    parser->state = HTTP_PARSER_HEAD;
    parser->scan = (struct http_head_scan){0};
    parser->is_complete = false;
    parser->is_keep_alive = false;
    parser->has_begun = false;
}

/* Feeds bytes that the strict readers have let pass; llhttp must have no objection. */
static bool llhttp_agrees(struct http_parser *parser, const char *bytes, size_t length) {
    return length == 0 || llhttp_execute(&parser->llhttp, bytes, length) == HPE_OK;
}

/* ---- The head ------------------------------------------------------------------------------- */

static void drop_partial(struct http_parser *parser) {
    free(parser->partial);
    parser->partial = NULL;
    parser->partial_length = parser->partial_capacity = 0;
}

/* Keeps a piece of a head. False: out of memory. */
static bool keep_partial(struct http_parser *parser, const char *bytes, size_t length) {
    size_t need = parser->partial_length + length;
    assert(need <= HTTP_HEAD_BYTES_MAX); /* the scan refused more */
    if (need > parser->partial_capacity) {
        size_t capacity =
            parser->partial_capacity ? parser->partial_capacity * 2 : PARTIAL_BYTES_FIRST;
        if (capacity < need)
            capacity = need;
        char *grown = realloc(parser->partial, capacity);
        if (!grown)
            return false;
        parser->partial = grown;
        parser->partial_capacity = capacity;
    }
    memcpy(parser->partial + parser->partial_length, bytes, length);
    parser->partial_length = need;
    return true;
}

static enum http_event finish_head(struct http_parser *parser, const char *bytes, size_t length,
                                   struct http_head *head) {
    if (!http_head_parse(bytes, length, head, &parser->refusal)) {
        parser->state = HTTP_PARSER_REFUSED;
        return HTTP_EVENT_REFUSED;
    }
    if (!llhttp_agrees(parser, bytes, length))
        return refuse(parser, 400, "the head of the request is malformed");
    parser->state = head->is_chunked ? HTTP_PARSER_CHUNKED : HTTP_PARSER_LENGTH;
    parser->body_left = head->content_length;
    parser->chunks = (struct http_chunks){.bytes_max = UINT64_MAX};
    bool has_body = head->is_chunked || head->content_length > 0;
    if (parser->is_complete == has_body)
        return refuse(parser, 400, "the length of the body is ambiguous");
    return HTTP_EVENT_HEAD;
}

static enum http_event feed_head(struct http_parser *parser, const char *bytes, size_t length,
                                 size_t *consumed, struct http_head *head) {
    enum http_progress progress =
        http_head_scan(&parser->scan, bytes, length, consumed, &parser->refusal);
    parser->has_begun = parser->has_begun || *consumed > 0;
    if (progress == HTTP_PROGRESS_BAD) {
        parser->state = HTTP_PARSER_REFUSED;
        return HTTP_EVENT_REFUSED;
    }
    if (progress == HTTP_PROGRESS_END && parser->partial_length == 0)
        return finish_head(parser, bytes, *consumed, head);
    if (!keep_partial(parser, bytes, *consumed))
        return refuse(parser, 503, "the server is out of memory");
    if (progress == HTTP_PROGRESS_MORE)
        return HTTP_EVENT_MORE;
    return finish_head(parser, parser->partial, parser->partial_length, head);
}

/* ---- The body ------------------------------------------------------------------------------- */

static enum http_event finish_message(struct http_parser *parser) {
    start_message(parser);
    return HTTP_EVENT_COMPLETE;
}

static enum http_event feed_length(struct http_parser *parser, const char *bytes, size_t length,
                                   size_t *consumed) {
    *consumed = length < parser->body_left ? length : (size_t)parser->body_left;
    parser->body_left -= *consumed;
    if (!llhttp_agrees(parser, bytes, *consumed) || parser->is_complete != (parser->body_left == 0))
        return refuse(parser, 400, "the body is malformed");
    return parser->body_left == 0 ? finish_message(parser) : HTTP_EVENT_MORE;
}

static enum http_event feed_chunked(struct http_parser *parser, const char *bytes, size_t length,
                                    size_t *consumed) {
    enum http_progress progress =
        http_chunks_scan(&parser->chunks, bytes, length, consumed, &parser->refusal);
    if (progress == HTTP_PROGRESS_BAD) {
        parser->state = HTTP_PARSER_REFUSED;
        return HTTP_EVENT_REFUSED;
    }
    if (!llhttp_agrees(parser, bytes, *consumed) ||
        parser->is_complete != (progress == HTTP_PROGRESS_END))
        return refuse(parser, 400, "the chunks of the body are malformed");
    return progress == HTTP_PROGRESS_END ? finish_message(parser) : HTTP_EVENT_MORE;
}

/* ---- Interface ------------------------------------------------------------------------------ */

void http_parser_init(struct http_parser *parser,
                      void (*on_body_bytes)(void *context, const char *bytes, size_t length),
                      void *context) {
    *parser = (struct http_parser){.on_body = on_body_bytes, .context = context};
    start_message(parser);
}

void http_parser_free(struct http_parser *parser) {
    drop_partial(parser);
}

void http_parser_set_body_max(struct http_parser *parser, uint64_t bytes_max) {
    parser->chunks.bytes_max = bytes_max;
}

enum http_event http_parser_feed(struct http_parser *parser, const char *bytes, size_t length,
                                 size_t *consumed, struct http_head *head) {
    *consumed = 0;
    switch (parser->state) {
    case HTTP_PARSER_HEAD:
        return feed_head(parser, bytes, length, consumed, head);
    case HTTP_PARSER_LENGTH:
        drop_partial(parser);
        return feed_length(parser, bytes, length, consumed);
    case HTTP_PARSER_CHUNKED:
        drop_partial(parser);
        return feed_chunked(parser, bytes, length, consumed);
    case HTTP_PARSER_REFUSED:
        break;
    }
    assert(false && "a refused connection gets no more bytes");
    return HTTP_EVENT_REFUSED;
}
