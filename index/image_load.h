/* image_load.h -- the inside of filling an index from a whole image and a delta; for image_load.c
 * and image_arrays.c.
 *
 * One thread fills, but for image_arrays_read, which has its own inside.
 */
#ifndef IMAGE_LOAD_H
#define IMAGE_LOAD_H

#include "index/image.h"

/* One of the files. */
struct image_file {
    int fd;       /* the caller's */
    uint64_t sum; /* of its header */
    struct image_layout layout;
    uint64_t table_sum;
    bool has_own_edges;     /* written by this set of kernels */
    uint64_t *sums;         /* the table; owned */
    struct image_row *rows; /* its numbers; owned */
};

/* What is loaded, and of which file: bits by slot, as of the newest. */
struct image_reader {
    struct image *image;
    struct hnsw *hnsw;
    struct store *store;
    struct image_file files[INDEX_IMAGE_KINDS]; /* by kind, which is their order, too */
    size_t files_count;
    uint32_t slots; /* one past the highest that may have a vector */
    uint64_t entry;
    uint32_t seeds[HNSW_SEEDS_MAX];
    uint64_t *present, *linked, *twin; /* owned: the first */
    uint64_t *newer, *recoded;         /* the delta has a row, or also a code */
    struct error *error;
};

static inline bool image_is_delta(const struct image_file *file) {
    return file->layout.kind == INDEX_IMAGE_DELTA;
}

static inline uint32_t image_level(const struct image_reader *reader, uint32_t slot) {
    return atomic_load_explicit(&store_node(reader->store, slot)->level, memory_order_relaxed);
}

/* What the calling thread does while others read codes, which need nothing of it; reports to
 * reader->error. */
typedef enum status image_prepare_fn(struct image_reader *reader);

/* Reads codes and links of a file into place, with all cores. The numbers of all files are there
 * already, or once `prepare` has returned, and the arrays of the files before. */
MUST_CHECK enum status image_arrays_read(struct image_reader *reader, const struct image_file *file,
                                         image_prepare_fn *prepare);

#endif
