/* http_response.h -- the head of an answer.
 *
 * No byte of a request ever enters it, so there is nothing to split a response with. Any thread.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
    HTTP_RESPONSE_HEAD_MAX = 1024, /* bytes of any head, with the NUL */
};

struct http_response {
    unsigned http_status;
    const char *content_type; /* NULL: no body */
    size_t length;            /* of the body; for HEAD, of the body that GET would have */
    unsigned retry_after_s;   /* 0: none */
    const char *allow;        /* methods, for 405 and OPTIONS; NULL or "": none */
    bool is_closing;          /* the connection closes after this answer */
    bool is_http_1_0;         /* staying must be said to a client of HTTP/1.0 */
    bool has_cors;            /* any web page may read the answer */
    bool is_preflight;        /* and asked first what it may send */
    time_t now;
};

/* Writes the head and the empty line after it; returns its length. */
size_t http_response_write_head(const struct http_response *response,
                                char out[HTTP_RESPONSE_HEAD_MAX]);

/* "Not Found" */
const char *http_response_reason(unsigned http_status);

#endif
