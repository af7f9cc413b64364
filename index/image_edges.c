/* Reading the edges of an image, after the first searches. Whatever is wrong with a piece, or with
 * all since another set of kernels wrote them, the edges of its chunk count as stale, and builders
 * write them anew. */
#include "index/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum status image_read_bytes(int fd, uint64_t at, void *bytes, size_t length, struct error *error) {
    for (uint8_t *to = bytes; length > 0;) {
        ssize_t count = pread(fd, to, length, (off_t)at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(error, STATUS_IO, "read a graph image: %s", strerror(errno));
        if (count == 0)
            return error_set(error, STATUS_CORRUPT, "graph image: shorter than it was");
        to += count;
        at += (uint64_t)count;
        length -= (size_t)count;
    }
    return STATUS_OK;
}

/* All edges of the chunk are there, or they are stale: walks may look at them. */
static void end_chunk(struct image_rest *rest, struct hnsw *hnsw, uint32_t first) {
    struct store *store = hnsw->store;
    pthread_rwlock_wrlock(&hnsw->gate);
    for (uint32_t i = 0; rest->is_damaged && i < STORE_CHUNK; i++) {
        if (!store_is_present(store, first + i)) /* its record must not take memory */
            continue;
        for (uint32_t block = 0; block < store->edge_blocks; block++)
            atomic_store_explicit(&store_head(store, first + i)->stale[block], UINT32_MAX,
                                  memory_order_relaxed);
    }
    if (rest->is_damaged)
        atomic_store(&store->has_stale, true);
    store_lengthen(store, first / STORE_CHUNK);
    atomic_store_explicit(&store_chunk(store, first)->unread, 0, memory_order_release);
    pthread_rwlock_unlock(&hnsw->gate);
    rest->is_damaged = false;
}

/* False if the piece cannot be read as it was written. */
static bool read_piece(struct image_rest *rest, struct store *store,
                       const struct image_piece *piece) {
    const struct image_part *part = &rest->layout.parts[IMAGE_EDGES];
    if (rest->is_foreign || !rest->buffer ||
        image_read_bytes(rest->fd, piece->at, rest->buffer, piece->bytes, NULL) != STATUS_OK ||
        XXH3_64bits(rest->buffer, piece->bytes) != rest->sums[part->first_piece + rest->piece])
        return false;
    for (uint32_t i = 0; i < piece->rows; i++)
        memcpy(store_whole_edges(store, piece->first_row + i), rest->buffer + i * part->row_bytes,
               part->row_bytes);
    return true;
}

bool image_read_edges(struct image_rest *rest, struct hnsw *hnsw) {
    if (!rest->sums)
        return false;
    const struct image_part *part = &rest->layout.parts[IMAGE_EDGES];
    const struct image_piece piece = image_piece(part, rest->piece);
    uint32_t end = piece.first_row + piece.rows;
    rest->is_damaged |= !read_piece(rest, hnsw->store, &piece);
    if (++rest->piece == part->pieces || end % STORE_CHUNK == 0)
        end_chunk(rest, hnsw, piece.first_row & ~(uint32_t)(STORE_CHUNK - 1));
    if (rest->piece == part->pieces) {
        image_rest_free(rest);
        atomic_store(&hnsw->store->is_unread, false);
    }
    return true;
}

void image_rest_free(struct image_rest *rest) {
    if (rest->sums && rest->fd >= 0)
        close(rest->fd);
    free(rest->sums);
    free(rest->buffer);
    *rest = (struct image_rest){.fd = -1};
}
