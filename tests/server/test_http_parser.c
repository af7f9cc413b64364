/* Requests as bytes, right and wrong, and what the parser must make of them; each is fed whole,
 * byte by byte, and cut in two at random places, with the same result. */
#include "server/http_parser.h"
#include "tests/support/run_suite.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "Host: a\r\n"
#define GET  "GET / HTTP/1.1\r\n" HOST "\r\n"

enum {
    OPEN = 0, /* not refused: the parser waits for more */
    BODY_BYTES_MAX = 1000,
    SPLITS = 3,
    VECTORS_MAX = 1000,
    VECTORS_MIN = 150,
    NAMES_MAX = 16,
    TEXT_MAX = 4096, /* bytes of a line, and of a vector */
};

struct text {
    char bytes[TEXT_MAX]; /* with a NUL after them */
    size_t length;
};

struct vector {
    unsigned requests; /* that are complete */
    unsigned refused;  /* with this status; OPEN: not */
    struct text bytes;
    bool has_body;
    struct text body; /* of all requests together */
};

/* ---- tests/http/vectors.txt ----------------------------------------------------------------- */

static struct vector *vectors;
static size_t vector_count;
static struct {
    char name[16];
    struct text text;
} names[NAMES_MAX];
static size_t name_count;

static void append(struct text *text, const char *bytes, size_t length) {
    assert(text->length + length < TEXT_MAX);
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

/* Takes "{NAME}" at *at; false if there is no such name. */
static bool take_name(const char **at, struct text *text) {
    const char *end = strchr(*at, '}');
    for (size_t i = 0; end && i < name_count; i++) {
        size_t length = strlen(names[i].name);
        if ((size_t)(end - *at - 1) != length || memcmp(*at + 1, names[i].name, length) != 0)
            continue;
        append(text, names[i].text.bytes, names[i].text.length);
        *at = end + 1;
        return true;
    }
    return false;
}

static char take_escape(const char **at) {
    static const char from[] = "rnt0\\\"", to[] = "\r\n\t\0\\\"";
    const char *found = strchr(from, **at);
    if (found && **at) {
        (*at)++;
        return to[found - from];
    }
    assert(**at == 'x');
    const char digits[] = {(*at)[1], (*at)[2], '\0'};
    *at += 3;
    return (char)strtoul(digits, NULL, 16);
}

/* Takes a quoted text at *at. */
static void take_text(const char **at, struct text *text) {
    *text = (struct text){.length = 0};
    assert(**at == '"');
    for ((*at)++; **at != '"';) {
        char byte = **at;
        assert(byte != '\0');
        if (byte == '{' && take_name(at, text))
            continue;
        (*at)++;
        if (byte == '\\')
            byte = take_escape(at);
        append(text, &byte, 1);
    }
    (*at)++;
}

static void take_line(const char *line) {
    if (line[0] == '#' || line[0] == '\n')
        return;
    if (line[0] >= 'A' && line[0] <= 'Z') {
        size_t length = strcspn(line, " ");
        assert(name_count < NAMES_MAX && length < sizeof(names[0].name));
        memcpy(names[name_count].name, line, length);
        line += length + 1;
        take_text(&line, &names[name_count].text);
        name_count++;
        return;
    }
    assert(vector_count < VECTORS_MAX);
    struct vector *vector = &vectors[vector_count++];
    char *end;
    vector->requests = (unsigned)strtoul(line, &end, 10);
    vector->refused = end[1] == '-' ? OPEN : (unsigned)strtoul(end + 1, NULL, 10);
    line = strchr(end, '"');
    assert(line);
    take_text(&line, &vector->bytes);
    vector->has_body = *line == ' ';
    if (vector->has_body) {
        line++;
        take_text(&line, &vector->body);
    }
    assert(*line == '\n');
}

static void read_vectors(void) {
    char line[TEXT_MAX];
    FILE *file = fopen("tests/http/vectors.txt", "r");
    assert(file); /* run from the top of the tree */
    vectors = calloc(VECTORS_MAX, sizeof(*vectors));
    assert(vectors);
    while (fgets(line, sizeof(line), file))
        take_line(line);
    fclose(file);
}

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
                  (int)vector->bytes.length, vector->bytes.bytes);
    if (vector->has_body) {
        ck_assert_uint_eq(seen->body_length, vector->body.length);
        ck_assert_mem_eq(seen->body, vector->body.bytes, seen->body_length);
    }
}

START_TEST(reads_a_vector_the_same_however_it_is_cut) {
    static struct seen seen;
    const struct vector *vector = &vectors[_i];
    const char *bytes = vector->bytes.bytes;
    size_t length = vector->bytes.length;
    feed(bytes, length, length, 1, &seen);
    expect(vector, &seen, "whole");
    feed(bytes, length, 1, 1, &seen);
    expect(vector, &seen, "byte by byte");
    srand((unsigned)_i);
    for (int i = 0; i < SPLITS && length > 1; i++) {
        size_t cut = 1 + (size_t)rand() % (length - 1);
        feed(bytes, length, cut, length, &seen);
        expect(vector, &seen, "in two");
    }
}
END_TEST

START_TEST(has_enough_vectors) {
    ck_assert_uint_ge(vector_count, VECTORS_MIN);
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

static const struct {
    const char *chunks;
    unsigned refused;
} chunk_sizes[] = {
    {"3E8\r\n", OPEN}, /* 1000: the limit */
    {"3E9\r\n", 413},
    {"1\r\na\r\n3E7\r\n", OPEN},
    {"1\r\na\r\n3E8\r\n", 413},
    {"0000000000000001\r\na\r\n", OPEN}, /* 16 digits */
    {"00000000000000001\r\na\r\n", 400},
};

START_TEST(takes_chunks_up_to_the_limit_of_the_body_and_not_one_byte_more) {
    char bytes[200];
    int length = snprintf(bytes, sizeof(bytes),
                          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n%s",
                          chunk_sizes[_i].chunks);
    ck_assert_uint_eq(status_of(bytes, (size_t)length, 0), chunk_sizes[_i].refused);
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
    read_vectors();
    Suite *suite = suite_create("http_parser");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, reads_a_vector_the_same_however_it_is_cut, 0, (int)vector_count);
    tcase_add_test(tests, has_enough_vectors);
    tcase_add_test(tests, takes_a_request_line_of_8192_bytes_and_not_one_more);
    tcase_add_test(tests, takes_a_header_of_8192_bytes_and_not_one_more);
    tcase_add_test(tests, takes_100_headers_and_not_one_more);
    tcase_add_test(tests, takes_a_head_of_16384_bytes_and_not_one_more);
    tcase_add_loop_test(tests, takes_chunks_up_to_the_limit_of_the_body_and_not_one_byte_more, 0,
                        (int)(sizeof(chunk_sizes) / sizeof(chunk_sizes[0])));
    tcase_add_test(tests, splits_a_head_into_what_it_says);
    tcase_add_test(tests, takes_the_host_of_an_absolute_target_over_the_header);
    tcase_add_loop_test(tests, knows_whether_the_connection_stays, 0,
                        (int)(sizeof(staying) / sizeof(staying[0])));
    tcase_add_test(tests, an_idle_parser_holds_no_memory);
    suite_add_tcase(suite, tests);
    return suite;
}
