#include "server/http_response.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    unsigned http_status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_response_reason(unsigned http_status) {
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].http_status == http_status)
            return reasons[i].reason;
    }
    return "Unknown";
}

struct head_text {
    char *out;
    size_t length;
};

static void add(struct head_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct head_text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text->out + text->length, HTTP_RESPONSE_HEAD_MAX - text->length, format,
                            arguments);
    va_end(arguments);
    assert(written >= 0 && (size_t)written < HTTP_RESPONSE_HEAD_MAX - text->length);
    text->length += (size_t)written;
}

/* IMF-fixdate; strftime would follow the locale. */
static void add_date(struct head_text *text, time_t now) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm utc;
    gmtime_r(&now, &utc);
    add(text, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + utc.tm_wday * 3,
        utc.tm_mday, months + utc.tm_mon * 3, utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
        utc.tm_sec);
}

static void add_cors(struct head_text *text, bool is_preflight) {
    add(text, "Access-Control-Allow-Origin: *\r\n");
    if (is_preflight) {
        /* "*" covers any header but Authorization. */
        add(text, "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
                  "Access-Control-Allow-Headers: *, Authorization, api-key, Content-Type\r\n"
                  "Access-Control-Max-Age: 86400\r\n");
    } else {
        add(text, "Access-Control-Expose-Headers: *\r\n");
    }
}

size_t http_response_write_head(const struct http_response *response,
                                char out[HTTP_RESPONSE_HEAD_MAX]) {
    struct head_text text = {.out = out};
    add(&text, "HTTP/1.1 %u %s\r\n", response->http_status,
        http_response_reason(response->http_status));
    add_date(&text, response->now);
    if (response->content_type)
        add(&text, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n",
            response->content_type);
    if (response->http_status != 204) /* which has no body by definition */
        add(&text, "Content-Length: %zu\r\n", response->length);
    if (response->retry_after_s > 0)
        add(&text, "Retry-After: %u\r\n", response->retry_after_s);
    if (response->allow && response->allow[0] != '\0')
        add(&text, "Allow: %s\r\n", response->allow);
    if (response->http_status == 401)
        add(&text, "WWW-Authenticate: Bearer\r\n");
    if (response->has_cors)
        add_cors(&text, response->is_preflight);
    if (response->is_closing)
        add(&text, "Connection: close\r\n");
    else if (response->is_http_1_0)
        add(&text, "Connection: keep-alive\r\n");
    add(&text, "\r\n");
    return text.length;
}
