/* http_parser.h -- bytes of a connection in, requests out.
 *
 * Three readers must agree on every request: http_head.h and http_chunks.h, which are strict, and
 * llhttp, which is well tried. The first two say where the message ends; llhttp is fed exactly
 * those bytes, and when it finds another end or an error the request is refused. So no byte
 * reaches llhttp that belongs to the next request, and what llhttp is loose about cannot matter.
 *
 * Memory: an idle parser holds none beyond the struct. While a head comes in pieces, the pieces
 * are kept in one malloc'ed block of at most HTTP_HEAD_BYTES_MAX. One connection, one thread.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include "server/http_chunks.h"

#include <llhttp.h>

enum http_event {
    HTTP_EVENT_MORE,     /* every byte was consumed */
    HTTP_EVENT_HEAD,     /* *head is filled in, valid until the next call */
    HTTP_EVENT_COMPLETE, /* the message has ended; the next byte begins another */
    HTTP_EVENT_REFUSED,  /* refusal says why; the connection must close, no more calls */
};

struct http_parser {
    llhttp_t llhttp;
    enum {
        HTTP_PARSER_HEAD,
        HTTP_PARSER_LENGTH,  /* body_left bytes of body follow */
        HTTP_PARSER_CHUNKED, /* chunks follow */
        HTTP_PARSER_REFUSED,
    } state;
    bool is_complete;   /* llhttp's opinion */
    bool is_keep_alive; /* the client wants the connection to stay; valid from HEAD on */
    bool has_begun;     /* at least one byte of a request was consumed */
    struct http_head_scan scan;
    struct http_chunks chunks;
    uint64_t body_left;
    char *partial; /* owned; a head that comes in pieces */
    size_t partial_length, partial_capacity;
    /* Gets each piece of the body, without framing, while http_parser_feed() runs. */
    void (*on_body)(void *context, const char *bytes, size_t length);
    void *context;
    struct http_refusal refusal;
};

void http_parser_init(struct http_parser *parser,
                      void (*on_body)(void *context, const char *bytes, size_t length),
                      void *context);

/* Frees what the parser holds. */
void http_parser_free(struct http_parser *parser);

/* Consumes bytes up to the next event; *consumed says how many. Call again with the rest. Out of
 * memory is a refusal (503). */
enum http_event http_parser_feed(struct http_parser *parser, const char *bytes, size_t length,
                                 size_t *consumed, struct http_head *head);

/* Sets how large a chunked body may become; call it at HTTP_EVENT_HEAD. */
void http_parser_set_body_max(struct http_parser *parser, uint64_t bytes_max);

#endif
