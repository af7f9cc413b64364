/* http_head.h -- finds the end of a request's head, checks it strictly, and splits it.
 *
 * This stands in front of llhttp, which is looser than we can afford (8.1 takes a lone CR for a
 * line end and folds headers): a head that passes here has one reading only, so nothing that sits
 * before us can have read it differently. Rules of RFC 9112, the stricter choice where it leaves
 * one.
 *
 * Pure functions over memory that the caller lends; no allocation. Any thread.
 */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_METHOD_BYTES_MAX = 32,
    HTTP_LINE_BYTES_MAX = 8 * 1024,  /* with CR LF; beyond: 414 (request line) or 431 (header) */
    HTTP_HEAD_BYTES_MAX = 16 * 1024, /* the head as a whole; beyond: 431 */
    HTTP_HEADERS_MAX = 100,          /* beyond: 431 */
    HTTP_LENGTH_DIGITS_MAX = 18,     /* of Content-Length; beyond: 413 */
};

/* Bytes of the request, borrowed; bytes is NULL if the header is absent. */
struct http_text {
    const char *bytes;
    size_t length;
};

/* Why a request is refused; the connection closes after this answer. */
struct http_refusal {
    unsigned http_status;
    const char *text; /* static */
};

/* Where a head that is still coming in has got to; all zero at its first byte. */
struct http_head_scan {
    uint8_t state;         /* enum in http_head.c */
    uint8_t headers;       /* lines so far */
    uint16_t line_bytes;   /* of the line being read */
    uint16_t method_bytes; /* of the method */
    uint32_t bytes;        /* of the head so far */
};

enum http_progress {
    HTTP_PROGRESS_MORE, /* all bytes taken; more must come */
    HTTP_PROGRESS_END,  /* the last byte has been taken */
    HTTP_PROGRESS_BAD,  /* refusal says why */
};

/* Takes the next bytes of a head, in any pieces; *taken says how many belong to it. */
enum http_progress http_head_scan(struct http_head_scan *scan, const char *bytes, size_t length,
                                  size_t *taken, struct http_refusal *refusal);

/* A head that passed; all texts point into the bytes that were parsed. */
struct http_head {
    const char *method;         /* static: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS */
    struct http_text path;      /* still percent-encoded; "*" for OPTIONS * */
    struct http_text query;     /* after '?', without it; NULL if there is none */
    struct http_text authority; /* of an absolute-form target, else the value of Host */
    bool is_http_1_0;
    bool is_chunked;
    bool expects_continue;
    uint64_t content_length; /* 0 when absent */
    /* Headers, each at most once; surrounding blanks cut off. */
    struct http_text host, length, transfer_encoding, expect, content_encoding, api_key,
        authorization, origin, preflight_method;
};

/* Splits a whole head that http_head_scan() has let pass. False: refusal says why. */
bool http_head_parse(const char *bytes, size_t length, struct http_head *head,
                     struct http_refusal *refusal);

/* Compares without regard to ASCII case. */
bool http_text_is(struct http_text text, const char *expected);

#endif
