#include "server/http_response.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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

enum {
    DATE_BYTES = 29, /* of an IMF-fixdate */
    DIGITS_MAX = 20, /* of a u64 */
};

struct head_text {
    char *out;
    size_t length;
};

static void add_bytes(struct head_text *text, const char *bytes, size_t length) {
    assert(length < HTTP_RESPONSE_HEAD_MAX - text->length);
    memcpy(text->out + text->length, bytes, length);
    text->length += length;
}

static void add(struct head_text *text, const char *more) {
    add_bytes(text, more, strlen(more));
}

static void add_number(struct head_text *text, uint64_t number) {
    char digits[DIGITS_MAX], *end = digits + sizeof(digits), *first = end;
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_bytes(text, first, (size_t)(end - first));
}

/* IMF-fixdate; strftime would follow the locale. */
/* The form has four digits for a year: the last second of 9999. */
static const time_t date_last = 253402300799;

static void write_date(time_t now, char out[DATE_BYTES + 1]) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm utc;
    now = now < 0 ? 0 : now > date_last ? date_last : now; /* a clock may be very wrong */
    gmtime_r(&now, &utc);
    int length = snprintf(out, DATE_BYTES + 1, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                          days + utc.tm_wday * 3, utc.tm_mday, months + utc.tm_mon * 3,
                          utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
    assert(length == DATE_BYTES);
}

/* Each thread keeps the text of the last second that it was asked for. */
static void add_date(struct head_text *text, time_t now) {
    static _Thread_local struct {
        time_t second;
        char text[DATE_BYTES + 1];
    } last;
    if (last.text[0] == '\0' || last.second != now) {
        write_date(now, last.text);
        last.second = now;
    }
    add(text, "Date: ");
    add_bytes(text, last.text, DATE_BYTES);
    add(text, "\r\n");
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

static void add_field(struct head_text *text, const char *name, const char *value) {
    add(text, name);
    add(text, value);
    add(text, "\r\n");
}

static void add_figure(struct head_text *text, const char *name, uint64_t value) {
    add(text, name);
    add_number(text, value);
    add(text, "\r\n");
}

size_t http_response_write_head(const struct http_response *response,
                                char out[HTTP_RESPONSE_HEAD_MAX]) {
    struct head_text text = {.out = out};
    add(&text, "HTTP/1.1 ");
    add_number(&text, response->http_status);
    add_field(&text, " ", http_response_reason(response->http_status));
    add_date(&text, response->now);
    if (response->content_type) {
        add_field(&text, "Content-Type: ", response->content_type);
        add(&text, "X-Content-Type-Options: nosniff\r\n");
    }
    if (response->http_status != 204) /* which has no body by definition */
        add_figure(&text, "Content-Length: ", response->length);
    if (response->retry_after_s > 0)
        add_figure(&text, "Retry-After: ", response->retry_after_s);
    if (response->allow && response->allow[0] != '\0')
        add_field(&text, "Allow: ", response->allow);
    if (response->http_status == 401)
        add(&text, "WWW-Authenticate: Bearer\r\n");
    if (response->has_cors)
        add_cors(&text, response->is_preflight);
    if (response->is_closing)
        add(&text, "Connection: close\r\n");
    else if (response->is_http_1_0)
        add(&text, "Connection: keep-alive\r\n");
    add(&text, "\r\n");
    out[text.length] = '\0';
    return text.length;
}
