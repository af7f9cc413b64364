/* Requests as bytes, right and wrong, and what the parser must make of them; each is fed whole,
 * byte by byte, and cut in two at random places, with the same result. */
#include "server/http_parser.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

#define HOST   "Host: a\r\n"
#define GET    "GET / HTTP/1.1\r\n" HOST "\r\n"
#define POST   "POST / HTTP/1.1\r\n" HOST
#define CHUNKS POST "Transfer-Encoding: chunked\r\n\r\n"
#define EVIL   "GET /evil HTTP/1.1\r\n" HOST "\r\n"

enum {
    OPEN = 0, /* not refused: the parser waits for more */
    BODY_BYTES_MAX = 1000,
    SPLITS = 3,
};

struct vector {
    const char *bytes;
    size_t length;
    unsigned requests; /* that are complete */
    unsigned refused;  /* with this status; OPEN: not */
    const char *body;  /* of all requests together */
};

#define V(bytes_, requests_, refused_)                                            \
    {                                                                             \
        .bytes = (bytes_), .length = sizeof(bytes_) - 1, .requests = (requests_), \
        .refused = (refused_)                                                     \
    }
#define B(bytes_, requests_, body_) \
    { .bytes = (bytes_), .length = sizeof(bytes_) - 1, .requests = (requests_), .body = (body_) }

static const struct vector vectors[] = {
    /* ---- What must pass ---- */
    V(GET, 1, OPEN),
    V(GET GET GET, 3, OPEN),
    V("\r\n" GET, 1, OPEN),
    V("GET / HTTP/1.0\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n", 1, OPEN),
    V("HEAD / HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("DELETE /a/b HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("PATCH /a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 1, OPEN),
    V("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("OPTIONS /a HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET http://a/b?c=d HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET https://a:1/b HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET http://a HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET http://a?b HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET /?a=%20&b HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET //a//b/ HTTP/1.1\r\n" HOST "\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\nHost:   a  \t\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\nHost: [::1]:6333\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "X:\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "X: a\tb\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "X: \xE4\xFF\r\n\r\n", 1, OPEN), /* obs-text is opaque */
    V("GET / HTTP/1.1\r\n" HOST "!#$%&'*+-.^_`|~: a\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "Accept: a\r\nAccept: b\r\n\r\n", 1, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n" GET, 2, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 1, OPEN),
    B(POST "Content-Length: 3\r\n\r\nabc", 1, "abc"),
    B(POST "Content-Length: 3\r\n\r\nabc" POST "Content-Length: 2\r\n\r\nde", 2, "abcde"),
    B(POST "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc" GET, 2, "abc"),
    B(POST "Content-Length:3\r\n\r\na\r\n" GET, 2, "a\r\n"),
    B(POST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", 1, "abc"),
    B(POST "Content-Length: 3\r\nExpect: 100-CONTINUE\r\n\r\nabc", 1, "abc"),
    B("GET / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc" GET, 2, "abc"),
    B(CHUNKS "3\r\nabc\r\n0\r\n\r\n", 1, "abc"),
    B(CHUNKS "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" GET, 2, "abcde"),
    B(CHUNKS "0\r\n\r\n" GET, 2, ""),
    B(CHUNKS "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 1, "01234567890123456789"),
    B(CHUNKS "0003\r\nabc\r\n000\r\n\r\n", 1, "abc"),
    B(POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1, "abc"),
    B(POST "transfer-encoding:chunked\r\n\r\n0\r\n\r\n", 1, ""),
    B(CHUNKS "4\r\n\r\n\r\n\r\n0\r\n\r\n", 1, "\r\n\r\n"),

    /* ---- What is not complete ---- */
    V("", 0, OPEN),
    V("\r\n", 0, OPEN),
    V("GET", 0, OPEN),
    V("GET / HTTP/1.1\r\n" HOST, 0, OPEN),
    V("GET / HTTP/1.1\r\n" HOST "\r", 0, OPEN),
    V(POST "Content-Length: 5\r\n\r\nabcd", 0, OPEN),
    V(CHUNKS "5\r\nabcd", 0, OPEN),
    V(CHUNKS "3\r\nabc\r\n0\r\n", 0, OPEN),
    V(GET "GET", 1, OPEN),

    /* ---- The request line ---- */
    V("\x16\x03\x01\x02", 0, 400), /* TLS on a plain port */
    V("\r\n\r\n" GET, 0, 400),
    V("\n" GET, 0, 400),
    V(" GET / HTTP/1.1\r\n", 0, 400),
    V("\0GET / HTTP/1.1\r\n", 0, 400),
    V("GET  / HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /  HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1 \r\n" HOST "\r\n", 0, 400),
    V("GET\t/ HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\tHTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /a b HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\r\n" HOST "\r\n", 0, 400), /* HTTP/0.9 */
    V("GET\r\n" HOST "\r\n", 0, 400),
    V("GET / \r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/11\r\n" HOST "\r\n", 0, 400),
    V("GET / http/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP /1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / XTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1x\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/a.b\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/0.9\r\n" HOST "\r\n", 0, 505),
    V("GET / HTTP/2.0\r\n" HOST "\r\n", 0, 505),
    V("GET / HTTP/1.2\r\n" HOST "\r\n", 0, 505),
    V("GET / HTTP/3.1\r\n" HOST "\r\n", 0, 505),
    V("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505),
    V("FOO / HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("get / HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("GETS / HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("TRACE / HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("PROPFIND / HTTP/1.1\r\n" HOST "\r\n", 0, 501),
    V("G(T / HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("G\0T / HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n", 0, 400),
    V("GET a HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET ../a HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET * HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("OPTIONS ** HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET ?a HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET ftp://a/b HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET http:///b HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET http://a@b/ HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET http:/a HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /a#b HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\xC3\xA4 HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\x7F HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET /\0 HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1\r" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1\r\r\n" HOST "\r\n", 0, 400),
    V(GET "\r\n\r\n" GET, 1, 400),
    V(GET "garbage\r\n\r\n", 1, 400),
    V(GET "\0", 1, 400),

    /* ---- Headers ---- */
    V("GET / HTTP/1.1\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nX: a\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "host: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost: \xE4\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 0, 400), /* obs-fold */
    V("GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", 0, 400),
    V("POST / HTTP/1.1\r\n" HOST "X: a\r\n Content-Length: 5\r\n\r\nabcde", 0, 400),
    V("POST / HTTP/1.1\r\n Content-Length: 5\r\n" HOST "\r\nabcde", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST ":\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X a: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X\t: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X\0: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X(: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "\xE4: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: \0\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\x7F\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\x1B[2J\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\nY: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\rY: b\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\r\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "\rZ" EVIL, 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "\r\r\n" EVIL, 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "\n" EVIL, 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "X: a\r\n\rZGET /evil HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "api-key: a\r\napi-key: a\r\n\r\n", 0, 400),
    V("GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nauthorization: b\r\n\r\n", 0, 400),
    V(POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 0, 400),
    V(POST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 0, 417),
    V(POST "Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\n", 0, 417),
    V(POST "Expect:\r\n\r\n", 0, 417),

    /* ---- How long is the body? ---- */
    V(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 3, 3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 3,4\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: +3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: -3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 0x3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 3 \t3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 03\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 00\r\n\r\n", 0, 400),
    V(POST "Content-Length: 3.0\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 3;\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: \"3\"\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: a\r\n\r\nabc", 0, 400),
    V(POST "Content-Length:\r\n\r\nabc", 0, 400),
    V(POST "Content-Length : 3\r\n\r\nabc", 0, 400),
    V(POST "Content-Length: 18446744073709551615\r\n\r\n", 0, 413),
    V(POST "Content-Length: 18446744073709551616\r\n\r\n", 0, 413),
    V(POST "Content-Length: 99999999999999999999999999\r\n\r\n", 0, 413),
    V(POST "Content-Length: 1000000000000000000\r\n\r\n", 0, 413),
    V(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" EVIL, 0, 400),
    V(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" EVIL, 0, 400),
    V(POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400),
    V(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400),
    V(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 0, 400),
    V(POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 0, 400),
    V(POST "Transfer-Encoding: identity\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding:\r\n\r\n", 0, 501),
    V(POST "Transfer-Encoding: \x0B"
           "chunked\r\n\r\n0\r\n\r\n",
      0, 400),
    V(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400),
    V(POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 0, 400),
    V("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" EVIL, 0, 400),
    V("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 0, 400),

    /* ---- Chunks ---- */
    V(CHUNKS "\r\n\r\n", 0, 400),
    V(CHUNKS "g\r\n", 0, 400),
    V(CHUNKS "-1\r\n", 0, 400),
    V(CHUNKS "+3\r\nabc\r\n", 0, 400),
    V(CHUNKS "0x3\r\nabc\r\n", 0, 400),
    V(CHUNKS " 3\r\nabc\r\n", 0, 400),
    V(CHUNKS "3 \r\nabc\r\n", 0, 400),
    V(CHUNKS "3\t\r\nabc\r\n", 0, 400),
    V(CHUNKS "3\nabc\r\n", 0, 400),
    V(CHUNKS "3\rabc\r\n", 0, 400),
    V(CHUNKS "3\r\r\nabc\r\n", 0, 400),
    V(CHUNKS "5\r\r;ABCD\r\n34\r\n", 0, 400),
    V(CHUNKS "3\0\r\nabc\r\n", 0, 400),
    V(CHUNKS "3;a=b\r\nabc\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "3;\r\nabc\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "3;a=\"b\r\n\"\r\nabc\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "0;a\r\n\r\n", 0, 400),
    V(CHUNKS "3\r\nabcd\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "3\r\nab\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "3\r\nabc\n0\r\n\r\n", 0, 400),
    V(CHUNKS "3\r\nabc0\r\n\r\n", 0, 400),
    V(CHUNKS "3\r\nabc\r\r\n0\r\n\r\n", 0, 400),
    V(CHUNKS "0\r\nX: a\r\n\r\n", 0, 400), /* trailers */
    V(CHUNKS "0\r\nContent-Length: 5\r\n\r\nabcde", 0, 400),
    V(CHUNKS "0\r\n\rX", 0, 400),
    V(CHUNKS "0\r\n\n" EVIL, 0, 400),
    V(CHUNKS "0\n\r\n", 0, 400),
    V(CHUNKS "0\r\nGET /evil HTTP/1.1\r\n" HOST "\r\n", 0, 400),
    V(CHUNKS "00000000000000003\r\nabc\r\n", 0, 400),
    V(CHUNKS "3E9\r\n", 0, 413), /* 1001: one past the limit */
    V(CHUNKS "FFFFFFFFFFFFFFFF\r\n", 0, 413),
    V(CHUNKS "8000000000000000\r\n", 0, 413),
    V(CHUNKS "1\r\na\r\n3E8\r\n", 0, 413), /* one past the limit in two */
    V(CHUNKS "1\r\na\r\nFFFFFFFFFFFFFFFF\r\n", 0, 413),
    V(CHUNKS "0\r\n\r\n"
             "FOO / HTTP/1.1\r\n\r\n",
      1, 501),
};

/* ---- Feeding -------------------------------------------------------------------------------- */

struct seen {
    unsigned requests, refused;
    char body[64 * 1024];
    size_t body_length;
};

static void on_body(void *context, const char *bytes, size_t length) {
    struct seen *seen = context;
    ck_assert_uint_le(seen->body_length + length, sizeof(seen->body));
    memcpy(seen->body + seen->body_length, bytes, length);
    seen->body_length += length;
}

static void feed_piece(struct http_parser *parser, const char *bytes, size_t length,
                       struct seen *seen) {
    bool is_begun = false;
    while ((length > 0 || is_begun) && seen->refused == 0) {
        size_t consumed;
        struct http_head head;
        enum http_event event = http_parser_feed(parser, bytes, length, &consumed, &head);
        ck_assert_uint_le(consumed, length);
        bytes += consumed;
        length -= consumed;
        is_begun = event == HTTP_EVENT_HEAD;
        if (event == HTTP_EVENT_HEAD)
            http_parser_set_body_max(parser, BODY_BYTES_MAX);
        if (event == HTTP_EVENT_COMPLETE)
            seen->requests++;
        if (event == HTTP_EVENT_REFUSED)
            seen->refused = parser->refusal.http_status;
        if (event == HTTP_EVENT_MORE)
            ck_assert_uint_eq(length, 0);
    }
}

/* Feeds the bytes in pieces of step bytes, the first of first bytes. Each piece is a block of its
 * own, so that reading beyond it shows under a sanitizer. */
static void feed(const char *bytes, size_t length, size_t first, size_t step, struct seen *seen) {
    struct http_parser parser;
    memset(seen, 0, sizeof(*seen));
    http_parser_init(&parser, on_body, seen);
    size_t at = 0;
    while (at < length && seen->refused == 0) {
        size_t here = at == 0 ? first : step;
        if (here > length - at)
            here = length - at;
        char *piece = malloc(here);
        ck_assert_ptr_nonnull(piece);
        memcpy(piece, bytes + at, here);
        feed_piece(&parser, piece, here, seen);
        free(piece);
        at += here;
    }
    http_parser_free(&parser);
}

static void expect(const struct vector *vector, const struct seen *seen, const char *how) {
    ck_assert_msg(seen->requests == vector->requests && seen->refused == vector->refused,
                  "fed %s: %u requests and status %u, expected %u and %u, of:\n%.*s", how,
                  seen->requests, seen->refused, vector->requests, vector->refused,
                  (int)vector->length, vector->bytes);
    if (vector->body) {
        ck_assert_uint_eq(seen->body_length, strlen(vector->body));
        ck_assert_mem_eq(seen->body, vector->body, seen->body_length);
    }
}

START_TEST(reads_a_vector_the_same_however_it_is_cut) {
    static struct seen seen;
    const struct vector *vector = &vectors[_i];
    feed(vector->bytes, vector->length, vector->length, 1, &seen);
    expect(vector, &seen, "whole");
    feed(vector->bytes, vector->length, 1, 1, &seen);
    expect(vector, &seen, "byte by byte");
    srand((unsigned)_i);
    for (int i = 0; i < SPLITS && vector->length > 1; i++) {
        size_t cut = 1 + (size_t)rand() % (vector->length - 1);
        feed(vector->bytes, vector->length, cut, vector->length, &seen);
        expect(vector, &seen, "in two");
    }
}
END_TEST

START_TEST(has_at_least_150_vectors) {
    ck_assert_uint_ge(sizeof(vectors) / sizeof(vectors[0]), 150);
}
END_TEST

/* ---- Limits --------------------------------------------------------------------------------- */

/* "GET /aaa... HTTP/1.1\r\n" of so many bytes, then Host. */
static size_t long_request_line(char *out, size_t bytes) {
    static const char start[] = "GET /", end[] = " HTTP/1.1\r\n";
    size_t fill = bytes - (sizeof(start) - 1) - (sizeof(end) - 1);
    memcpy(out, start, sizeof(start) - 1);
    memset(out + sizeof(start) - 1, 'a', fill);
    memcpy(out + sizeof(start) - 1 + fill, end, sizeof(end) - 1);
    memcpy(out + bytes, HOST "\r\n", sizeof(HOST "\r\n") - 1);
    return bytes + sizeof(HOST "\r\n") - 1;
}

/* A request whose headers take so many bytes each. */
static size_t long_headers(char *out, size_t bytes, size_t count) {
    size_t length = sizeof("GET / HTTP/1.1\r\n" HOST) - 1;
    memcpy(out, "GET / HTTP/1.1\r\n" HOST, length);
    for (size_t i = 0; i < count; i++) {
        memcpy(out + length, "X: ", 3);
        memset(out + length + 3, 'a', bytes - 5);
        memcpy(out + length + bytes - 2, "\r\n", 2);
        length += bytes;
    }
    memcpy(out + length, "\r\n", 2);
    return length + 2;
}

static unsigned status_of(const char *bytes, size_t length, unsigned requests) {
    static struct seen whole, pieces;
    feed(bytes, length, length, 1, &whole);
    feed(bytes, length, 1, 1, &pieces);
    ck_assert_uint_eq(whole.refused, pieces.refused);
    ck_assert_uint_eq(whole.requests, requests);
    ck_assert_uint_eq(pieces.requests, requests);
    return whole.refused;
}

START_TEST(takes_a_request_line_of_8192_bytes_and_not_one_more) {
    static char bytes[2 * HTTP_HEAD_BYTES_MAX];
    size_t length = long_request_line(bytes, HTTP_LINE_BYTES_MAX);
    ck_assert_uint_eq(status_of(bytes, length, 1), OPEN);
    length = long_request_line(bytes, HTTP_LINE_BYTES_MAX + 1);
    ck_assert_uint_eq(status_of(bytes, length, 0), 414);
}
END_TEST

START_TEST(takes_a_header_of_8192_bytes_and_not_one_more) {
    static char bytes[2 * HTTP_HEAD_BYTES_MAX];
    size_t length = long_headers(bytes, HTTP_LINE_BYTES_MAX, 1);
    ck_assert_uint_eq(status_of(bytes, length, 1), OPEN);
    length = long_headers(bytes, HTTP_LINE_BYTES_MAX + 1, 1);
    ck_assert_uint_eq(status_of(bytes, length, 0), 431);
}
END_TEST

START_TEST(takes_100_headers_and_not_one_more) {
    static char bytes[2 * HTTP_HEAD_BYTES_MAX];
    size_t length = long_headers(bytes, 10, HTTP_HEADERS_MAX - 1); /* and Host */
    ck_assert_uint_eq(status_of(bytes, length, 1), OPEN);
    length = long_headers(bytes, 10, HTTP_HEADERS_MAX);
    ck_assert_uint_eq(status_of(bytes, length, 0), 431);
}
END_TEST

START_TEST(takes_a_head_of_16384_bytes_and_not_one_more) {
    static char bytes[2 * HTTP_HEAD_BYTES_MAX];
    size_t fixed = long_headers(bytes, 1000, 16); /* 16,000 and the lines around */
    size_t missing = HTTP_HEAD_BYTES_MAX - fixed;
    for (size_t more = 0; more <= 1; more++) {
        size_t length = long_headers(bytes, 1000, 16) - 2, header = missing + more;
        memcpy(bytes + length, "Y: ", 3);
        memset(bytes + length + 3, 'b', header - 5);
        memcpy(bytes + length + header - 2, "\r\n\r\n", 4);
        length += header + 2;
        ck_assert_uint_eq(length, HTTP_HEAD_BYTES_MAX + more);
        ck_assert_uint_eq(status_of(bytes, length, more ? 0 : 1), more ? 431 : OPEN);
    }
}
END_TEST

/* ---- What a head says ----------------------------------------------------------------------- */

static void parse(const char *bytes, struct http_parser *parser, struct http_head *head,
                  struct seen *seen) {
    size_t consumed;
    memset(seen, 0, sizeof(*seen));
    http_parser_init(parser, on_body, seen);
    ck_assert_int_eq(http_parser_feed(parser, bytes, strlen(bytes), &consumed, head),
                     HTTP_EVENT_HEAD);
}

static void ck_text(struct http_text text, const char *expected) {
    if (!expected) {
        ck_assert_ptr_null(text.bytes);
        return;
    }
    ck_assert_uint_eq(text.length, strlen(expected));
    ck_assert_mem_eq(text.bytes, expected, text.length);
}

START_TEST(splits_a_head_into_what_it_says) {
    struct http_parser parser;
    struct http_head head;
    static struct seen seen;
    parse("POST /a%20b/c?d=e?f HTTP/1.1\r\nhost: h:1\r\nAPI-Key:  k \r\nauthorization: Bearer t\r\n"
          "Content-Encoding: gzip\r\nContent-Length: 12\r\nOrigin: o\r\n\r\n",
          &parser, &head, &seen);
    ck_assert_str_eq(head.method, "POST");
    ck_text(head.path, "/a%20b/c");
    ck_text(head.query, "d=e?f");
    ck_text(head.host, "h:1");
    ck_text(head.authority, "h:1");
    ck_text(head.api_key, "k");
    ck_text(head.authorization, "Bearer t");
    ck_text(head.content_encoding, "gzip");
    ck_text(head.origin, "o");
    ck_text(head.expect, NULL);
    ck_assert_uint_eq(head.content_length, 12);
    ck_assert(!head.is_chunked && !head.is_http_1_0 && !head.expects_continue);
    ck_assert(parser.is_keep_alive);
    http_parser_free(&parser);
}
END_TEST

START_TEST(takes_the_host_of_an_absolute_target_over_the_header) {
    struct http_parser parser;
    struct http_head head;
    static struct seen seen;
    parse("GET http://evil.example/a HTTP/1.1\r\nHost: localhost\r\n\r\n", &parser, &head, &seen);
    ck_text(head.authority, "evil.example");
    ck_text(head.path, "/a");
    parse("GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", &parser, &head, &seen);
    ck_text(head.path, "/");
    ck_text(head.query, "c");
    parse("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", &parser, &head, &seen);
    ck_text(head.path, "/");
    ck_text(head.query, NULL);
}
END_TEST

static const struct {
    const char *lines;
    bool is_keep_alive;
} staying[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true},
    {"GET / HTTP/1.0\r\n\r\n", false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
    {"GET / HTTP/1.0\r\nConnection: close\r\n\r\n", false},
};

START_TEST(knows_whether_the_connection_stays) {
    struct http_parser parser;
    struct http_head head;
    static struct seen seen;
    parse(staying[_i].lines, &parser, &head, &seen);
    ck_assert_int_eq(parser.is_keep_alive, staying[_i].is_keep_alive);
    http_parser_free(&parser);
}
END_TEST

START_TEST(an_idle_parser_holds_no_memory) {
    struct http_parser parser;
    struct http_head head;
    static struct seen seen;
    size_t consumed;
    memset(&seen, 0, sizeof(seen));
    http_parser_init(&parser, on_body, &seen);
    ck_assert_int_eq(http_parser_feed(&parser, GET, 5, &consumed, &head), HTTP_EVENT_MORE);
    ck_assert_ptr_nonnull(parser.partial);
    ck_assert_int_eq(http_parser_feed(&parser, &GET[5], strlen(GET) - 5, &consumed, &head),
                     HTTP_EVENT_HEAD);
    ck_assert_int_eq(http_parser_feed(&parser, "", 0, &consumed, &head), HTTP_EVENT_COMPLETE);
    ck_assert_ptr_null(parser.partial);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("http_parser");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, reads_a_vector_the_same_however_it_is_cut, 0,
                        (int)(sizeof(vectors) / sizeof(vectors[0])));
    tcase_add_test(tests, has_at_least_150_vectors);
    tcase_add_test(tests, takes_a_request_line_of_8192_bytes_and_not_one_more);
    tcase_add_test(tests, takes_a_header_of_8192_bytes_and_not_one_more);
    tcase_add_test(tests, takes_100_headers_and_not_one_more);
    tcase_add_test(tests, takes_a_head_of_16384_bytes_and_not_one_more);
    tcase_add_test(tests, splits_a_head_into_what_it_says);
    tcase_add_test(tests, takes_the_host_of_an_absolute_target_over_the_header);
    tcase_add_loop_test(tests, knows_whether_the_connection_stays, 0,
                        (int)(sizeof(staying) / sizeof(staying[0])));
    tcase_add_test(tests, an_idle_parser_holds_no_memory);
    suite_add_tcase(suite, tests);
    return suite;
}
