#include "server/http_chunks.h"

#include <assert.h>

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LAST_CR, /* after the chunk of size 0: an empty line, no trailers */
    CHUNK_LAST_LF,
};

static enum http_progress refuse(struct http_refusal *refusal, unsigned http_status,
                                 const char *text) {
    *refusal = (struct http_refusal){.http_status = http_status, .text = text};
    return HTTP_PROGRESS_BAD;
}

static int hex_digit(char byte) {
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

static enum http_progress scan_size(struct http_chunks *chunks, char byte,
                                    struct http_refusal *refusal) {
    int digit = hex_digit(byte);
    if (digit >= 0) {
        if (++chunks->digits > HTTP_CHUNK_DIGITS_MAX)
            return refuse(refusal, 400, "the size of a chunk has too many digits");
        chunks->chunk_left = chunks->chunk_left << 4 | (uint64_t)digit;
        return HTTP_PROGRESS_MORE;
    }
    if (byte == ';')
        return refuse(refusal, 400, "chunk extensions are not accepted");
    if (byte != '\r' || chunks->digits == 0)
        return refuse(refusal, 400, "the size of a chunk is not a hexadecimal number");
    if (chunks->chunk_left > chunks->bytes_max - chunks->bytes)
        return refuse(refusal, 413, "the body is larger than allowed");
    chunks->bytes += chunks->chunk_left;
    chunks->state = CHUNK_SIZE_LF;
    return HTTP_PROGRESS_MORE;
}

static enum http_progress expect_byte(struct http_chunks *chunks, char byte, char expected,
                                      enum chunk_state next, struct http_refusal *refusal) {
    if (byte != expected)
        return refuse(refusal, 400,
                      chunks->state == CHUNK_LAST_CR ? "trailers are not accepted"
                                                     : "a chunk does not end where it must");
    chunks->state = (uint8_t)next;
    return HTTP_PROGRESS_MORE;
}

static enum http_progress scan_framing(struct http_chunks *chunks, char byte,
                                       struct http_refusal *refusal) {
    switch ((enum chunk_state)chunks->state) {
    case CHUNK_SIZE:
        return scan_size(chunks, byte, refusal);
    case CHUNK_SIZE_LF:
        return expect_byte(chunks, byte, '\n', chunks->chunk_left ? CHUNK_DATA : CHUNK_LAST_CR,
                           refusal);
    case CHUNK_DATA_CR:
        return expect_byte(chunks, byte, '\r', CHUNK_DATA_LF, refusal);
    case CHUNK_DATA_LF:
        chunks->digits = 0;
        return expect_byte(chunks, byte, '\n', CHUNK_SIZE, refusal);
    case CHUNK_LAST_CR:
        return expect_byte(chunks, byte, '\r', CHUNK_LAST_LF, refusal);
    case CHUNK_LAST_LF:
        if (byte == '\n')
            return HTTP_PROGRESS_END;
        return refuse(refusal, 400, "a carriage return without a line feed");
    case CHUNK_DATA:
        break;
    }
    assert(false && "data is skipped, not scanned");
    return HTTP_PROGRESS_BAD;
}

enum http_progress http_chunks_scan(struct http_chunks *chunks, const char *bytes, size_t length,
                                    size_t *taken, struct http_refusal *refusal) {
    size_t at = 0;
    while (at < length) {
        if (chunks->state == CHUNK_DATA) {
            size_t here = length - at;
            if (here > chunks->chunk_left)
                here = (size_t)chunks->chunk_left;
            at += here;
            chunks->chunk_left -= here;
            if (chunks->chunk_left == 0)
                chunks->state = CHUNK_DATA_CR;
            continue;
        }
        enum http_progress progress = scan_framing(chunks, bytes[at++], refusal);
        if (progress != HTTP_PROGRESS_MORE) {
            *taken = at;
            return progress;
        }
    }
    *taken = at;
    return HTTP_PROGRESS_MORE;
}
