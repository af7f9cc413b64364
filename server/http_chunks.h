/* http_chunks.h -- checks the framing of a chunked body, byte by byte, before llhttp sees it.
 *
 * Stricter than RFC 9112 7.1 asks: chunk extensions and trailers are refused. No client of ours
 * sends them, and every public list of request smuggling has a section about them.
 *
 * No allocation; one body, one thread.
 */
#ifndef HTTP_CHUNKS_H
#define HTTP_CHUNKS_H

#include "server/http_head.h"

enum {
    HTTP_CHUNK_DIGITS_MAX = 16, /* of a chunk's size */
};

/* All zero but bytes_max at the first byte of the body. */
struct http_chunks {
    uint64_t bytes_max;  /* of the body without framing; beyond: 413 */
    uint64_t bytes;      /* announced so far */
    uint64_t chunk_left; /* of the chunk being read */
    uint8_t state;       /* enum in http_chunks.c */
    uint8_t digits;      /* of the size being read */
};

/* Takes the next bytes of the body, in any pieces; *taken says how many belong to it. */
enum http_progress http_chunks_scan(struct http_chunks *chunks, const char *bytes, size_t length,
                                    size_t *taken, struct http_refusal *refusal);

#endif
