#include "server/http_head.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

enum scan_state {
    SCAN_START, /* one empty line may precede a request (RFC 9112 2.2) */
    SCAN_START_LF,
    SCAN_METHOD,
    SCAN_TARGET,
    SCAN_VERSION,
    SCAN_LINE_LF,
    SCAN_HEADER_START,
    SCAN_HEADER_NAME,
    SCAN_HEADER_VALUE,
    SCAN_END_LF,
    SCAN_REFUSED,
};

static enum http_progress refuse(struct http_refusal *refusal, unsigned http_status,
                                 const char *text) {
    *refusal = (struct http_refusal){.http_status = http_status, .text = text};
    return HTTP_PROGRESS_BAD;
}

/* tchar of RFC 9110 5.6.2. */
static bool is_token_byte(unsigned char byte) {
    if ((byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
        (byte >= 'a' && byte <= 'z'))
        return true;
    return byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

static bool is_value_byte(unsigned char byte) {
    return byte == '\t' || (byte >= 0x20 && byte != 0x7F);
}

static enum http_progress scan_start(struct http_head_scan *scan, unsigned char byte,
                                     struct http_refusal *refusal) {
    if (byte == '\r' && scan->bytes == 1) {
        scan->state = SCAN_START_LF;
        return HTTP_PROGRESS_MORE;
    }
    if (!is_token_byte(byte))
        return refuse(refusal, 400, "the request does not start with a method");
    scan->state = SCAN_METHOD;
    scan->method_bytes = 1;
    return HTTP_PROGRESS_MORE;
}

/* The request line: METHOD SP TARGET SP VERSION CR LF. */
static enum http_progress scan_request_line(struct http_head_scan *scan, unsigned char byte,
                                            struct http_refusal *refusal) {
    switch (scan->state) {
    case SCAN_METHOD:
        if (byte == ' ')
            scan->state = SCAN_TARGET;
        else if (!is_token_byte(byte) || ++scan->method_bytes > HTTP_METHOD_BYTES_MAX)
            return refuse(refusal, 400, "the method is malformed");
        break;
    case SCAN_TARGET:
        if (byte == ' ')
            scan->state = SCAN_VERSION;
        else if (byte <= 0x20 || byte >= 0x7F || byte == '#')
            return refuse(refusal, 400, "the request target holds a byte that must be encoded");
        break;
    default:
        assert(scan->state == SCAN_VERSION);
        if (byte == '\r')
            scan->state = SCAN_LINE_LF;
        else if (byte <= 0x20 || byte >= 0x7F)
            return refuse(refusal, 400, "the request line is malformed");
    }
    return HTTP_PROGRESS_MORE;
}

static enum http_progress scan_header(struct http_head_scan *scan, unsigned char byte,
                                      struct http_refusal *refusal) {
    switch (scan->state) {
    case SCAN_HEADER_START:
        if (byte == '\r') {
            scan->state = SCAN_END_LF;
        } else if (byte == ' ' || byte == '\t') {
            return refuse(refusal, 400, "a header line starts with a blank");
        } else if (!is_token_byte(byte)) {
            return refuse(refusal, 400, "a header has no name");
        } else {
            if (++scan->headers > HTTP_HEADERS_MAX)
                return refuse(refusal, 431, "more than 100 headers");
            scan->state = SCAN_HEADER_NAME;
        }
        break;
    case SCAN_HEADER_NAME:
        if (byte == ':')
            scan->state = SCAN_HEADER_VALUE;
        else if (!is_token_byte(byte))
            return refuse(refusal, 400, "a header name holds a byte that may not be there");
        break;
    default:
        assert(scan->state == SCAN_HEADER_VALUE);
        if (byte == '\r')
            scan->state = SCAN_LINE_LF;
        else if (!is_value_byte(byte))
            return refuse(refusal, 400, "a header value holds a control character");
    }
    return HTTP_PROGRESS_MORE;
}

static enum http_progress scan_line_feed(struct http_head_scan *scan, unsigned char byte,
                                         struct http_refusal *refusal) {
    if (byte != '\n')
        return refuse(refusal, 400, "a carriage return without a line feed");
    scan->line_bytes = 0;
    switch (scan->state) {
    case SCAN_START_LF:
        scan->state = SCAN_START;
        return HTTP_PROGRESS_MORE;
    case SCAN_LINE_LF:
        scan->state = SCAN_HEADER_START;
        return HTTP_PROGRESS_MORE;
    default:
        assert(scan->state == SCAN_END_LF);
        return HTTP_PROGRESS_END;
    }
}

static enum http_progress scan_byte(struct http_head_scan *scan, unsigned char byte,
                                    struct http_refusal *refusal) {
    scan->bytes++;
    scan->line_bytes++;
    if (scan->line_bytes > HTTP_LINE_BYTES_MAX)
        return scan->headers == 0
                   ? refuse(refusal, 414, "the request line is longer than 8192 bytes")
                   : refuse(refusal, 431, "a header is longer than 8192 bytes");
    if (scan->bytes > HTTP_HEAD_BYTES_MAX)
        return refuse(refusal, 431, "the head of the request is larger than 16384 bytes");
    switch ((enum scan_state)scan->state) {
    case SCAN_START:
        return scan_start(scan, byte, refusal);
    case SCAN_METHOD:
    case SCAN_TARGET:
    case SCAN_VERSION:
        return scan_request_line(scan, byte, refusal);
    case SCAN_HEADER_START:
    case SCAN_HEADER_NAME:
    case SCAN_HEADER_VALUE:
        return scan_header(scan, byte, refusal);
    case SCAN_START_LF:
    case SCAN_LINE_LF:
    case SCAN_END_LF:
        return scan_line_feed(scan, byte, refusal);
    case SCAN_REFUSED:
        break;
    }
    assert(false && "a refused head gets no more bytes");
    return HTTP_PROGRESS_BAD;
}

enum http_progress http_head_scan(struct http_head_scan *scan, const char *bytes, size_t length,
                                  size_t *taken, struct http_refusal *refusal) {
    for (size_t i = 0; i < length; i++) {
        enum http_progress progress = scan_byte(scan, (unsigned char)bytes[i], refusal);
        if (progress != HTTP_PROGRESS_MORE) {
            *taken = i + 1;
            if (progress == HTTP_PROGRESS_BAD)
                scan->state = SCAN_REFUSED;
            return progress;
        }
    }
    *taken = length;
    return HTTP_PROGRESS_MORE;
}

/* ---- Splitting ------------------------------------------------------------------------------ */

bool http_text_is(struct http_text text, const char *expected) {
    return text.bytes && text.length == strlen(expected) &&
           strncasecmp(text.bytes, expected, text.length) == 0;
}

/* Cuts the text before the first stop byte off the rest, and the stop byte with it. */
static struct http_text cut(struct http_text *rest, char stop) {
    const char *end = memchr(rest->bytes, stop, rest->length);
    assert(end); /* the scan saw it */
    struct http_text part = {.bytes = rest->bytes, .length = (size_t)(end - rest->bytes)};
    rest->bytes += part.length + 1;
    rest->length -= part.length + 1;
    return part;
}

static struct http_text trim(struct http_text text) {
    while (text.length > 0 && (text.bytes[0] == ' ' || text.bytes[0] == '\t'))
        text.bytes++, text.length--;
    while (text.length > 0 &&
           (text.bytes[text.length - 1] == ' ' || text.bytes[text.length - 1] == '\t'))
        text.length--;
    return text;
}

/* Methods are case-sensitive. CONNECT and TRACE are known to HTTP, but not served here. */
static bool parse_method(struct http_text text, struct http_head *head,
                         struct http_refusal *refusal) {
    static const char *const methods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (text.length == strlen(methods[i]) && memcmp(text.bytes, methods[i], text.length) == 0) {
            head->method = methods[i];
            return true;
        }
    }
    refuse(refusal, 501, "this server does not know the method");
    return false;
}

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

static bool parse_version(struct http_text text, struct http_head *head,
                          struct http_refusal *refusal) {
    if (http_text_is(text, "HTTP/1.1") && memcmp(text.bytes, "HTTP", 4) == 0)
        return true;
    if (http_text_is(text, "HTTP/1.0") && memcmp(text.bytes, "HTTP", 4) == 0) {
        head->is_http_1_0 = true;
        return true;
    }
    if (text.length == 8 && memcmp(text.bytes, "HTTP/", 5) == 0 && is_digit(text.bytes[5]) &&
        text.bytes[6] == '.' && is_digit(text.bytes[7]))
        refuse(refusal, 505, "this server speaks HTTP/1.1 and HTTP/1.0");
    else
        refuse(refusal, 400, "the request line does not end with an HTTP version");
    return false;
}

/* Takes "http://host" off the front of an absolute-form target, which proxies send. What is left
 * may be empty. */
static void take_authority(struct http_text *target, struct http_head *head) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t length = strlen(schemes[i]);
        if (target->length < length || strncasecmp(target->bytes, schemes[i], length) != 0)
            continue;
        head->authority = (struct http_text){.bytes = target->bytes + length};
        size_t left = target->length - length;
        while (head->authority.length < left &&
               !strchr("/?", head->authority.bytes[head->authority.length]))
            head->authority.length++;
        target->bytes = head->authority.bytes + head->authority.length;
        target->length = left - head->authority.length;
        return;
    }
}

/* Splits origin-form, absolute-form or the * of OPTIONS. */
static bool parse_target(struct http_text target, struct http_head *head,
                         struct http_refusal *refusal) {
    static const char root[] = "/";
    if (target.length == 1 && target.bytes[0] == '*' && strcmp(head->method, "OPTIONS") == 0) {
        head->path = target;
        return true;
    }
    take_authority(&target, head);
    const char *mark = memchr(target.bytes, '?', target.length);
    head->path = target;
    if (mark) {
        head->path.length = (size_t)(mark - target.bytes);
        head->query.bytes = mark + 1;
        head->query.length = target.length - head->path.length - 1;
    }
    if (head->authority.bytes && head->path.length == 0)
        head->path = (struct http_text){.bytes = root, .length = 1};
    if (head->path.length > 0 && head->path.bytes[0] == '/')
        return true;
    refuse(refusal, 400, "the request target is not a path");
    return false;
}

/* The headers that mean something to us. Each may come once: a second one is how requests are
 * smuggled, and keys confused. */
static const struct {
    const char *name;
    size_t offset;
    const char *refusal;
} known_headers[] = {
#define KNOWN(name, member) \
    { name, offsetof(struct http_head, member), "header " name " comes twice" }
    KNOWN("host", host),
    KNOWN("content-length", length),
    KNOWN("transfer-encoding", transfer_encoding),
    KNOWN("expect", expect),
    KNOWN("content-encoding", content_encoding),
    KNOWN("api-key", api_key),
    KNOWN("authorization", authorization),
    KNOWN("origin", origin),
    KNOWN("access-control-request-method", preflight_method),
#undef KNOWN
};

static bool keep_header(struct http_text name, struct http_text value, struct http_head *head,
                        struct http_refusal *refusal) {
    for (size_t i = 0; i < sizeof(known_headers) / sizeof(known_headers[0]); i++) {
        if (!http_text_is(name, known_headers[i].name))
            continue;
        struct http_text *member = (struct http_text *)((char *)head + known_headers[i].offset);
        if (member->bytes) {
            refuse(refusal, 400, known_headers[i].refusal);
            return false;
        }
        *member = value;
        return true;
    }
    return true;
}

static bool is_authority(struct http_text text) {
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        bool is_alphanumeric = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                               (byte >= 'a' && byte <= 'z');
        if (!is_alphanumeric && (byte == '\0' || !strchr("-._~%!$&'()*+;=:[]", byte)))
            return false;
    }
    return text.length > 0;
}

static bool check_host(struct http_head *head, struct http_refusal *refusal) {
    if (!head->host.bytes && !head->is_http_1_0) {
        refuse(refusal, 400, "header host is missing");
        return false;
    }
    if (head->host.bytes && !is_authority(head->host)) {
        refuse(refusal, 400, "header host is malformed");
        return false;
    }
    if (head->authority.bytes && !is_authority(head->authority)) {
        refuse(refusal, 400, "the request target names a malformed host");
        return false;
    }
    if (!head->authority.bytes)
        head->authority = head->host;
    return true;
}

static bool parse_length(struct http_head *head, struct http_refusal *refusal) {
    struct http_text text = head->length;
    bool is_number = text.length > 0 && (text.bytes[0] != '0' || text.length == 1);
    for (size_t i = 0; i < text.length; i++)
        is_number = is_number && is_digit(text.bytes[i]);
    if (!is_number) {
        refuse(refusal, 400, "header content-length is not a plain decimal number");
        return false;
    }
    if (text.length > HTTP_LENGTH_DIGITS_MAX) {
        refuse(refusal, 413, "the body is larger than any server takes");
        return false;
    }
    for (size_t i = 0; i < text.length; i++)
        head->content_length = head->content_length * 10 + (uint64_t)(text.bytes[i] - '0');
    return true;
}

/* How long the body is must have one answer (RFC 9112 6.1, 6.3). */
static bool check_framing(struct http_head *head, struct http_refusal *refusal) {
    if (head->transfer_encoding.bytes) {
        if (head->length.bytes) {
            refuse(refusal, 400, "both transfer-encoding and content-length");
            return false;
        }
        if (head->is_http_1_0) {
            refuse(refusal, 400, "transfer-encoding in an HTTP/1.0 request");
            return false;
        }
        if (!http_text_is(head->transfer_encoding, "chunked")) {
            refuse(refusal, 501, "the only transfer-encoding is chunked");
            return false;
        }
        head->is_chunked = true;
    }
    if (head->length.bytes && !parse_length(head, refusal))
        return false;
    if (head->expect.bytes && !head->is_http_1_0) {
        if (!http_text_is(head->expect, "100-continue")) {
            refuse(refusal, 417, "the only expectation that can be met is 100-continue");
            return false;
        }
        head->expects_continue = head->is_chunked || head->content_length > 0;
    }
    return true;
}

bool http_head_parse(const char *bytes, size_t length, struct http_head *head,
                     struct http_refusal *refusal) {
    *head = (struct http_head){0};
    struct http_text rest = {.bytes = bytes, .length = length};
    if (rest.length > 2 && rest.bytes[0] == '\r')
        (void)cut(&rest, '\n');

    struct http_text line = cut(&rest, '\n'); /* still ends with CR */
    struct http_text method = cut(&line, ' ');
    struct http_text target = cut(&line, ' ');
    struct http_text version = cut(&line, '\r');
    if (!parse_version(version, head, refusal) || !parse_method(method, head, refusal) ||
        !parse_target(target, head, refusal))
        return false;

    for (;;) {
        line = cut(&rest, '\n');
        if (line.length == 1)
            break; /* the CR of the empty line */
        struct http_text name = cut(&line, ':');
        line.length--;
        if (!keep_header(name, trim(line), head, refusal))
            return false;
    }
    assert(rest.length == 0);
    return check_host(head, refusal) && check_framing(head, refusal);
}
