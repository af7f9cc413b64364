/* image_file.h -- images of an index in files without a name, to be saved, changed and loaded.
 *
 * Each function fails the test on an error that is not the index's.
 */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include "index/image.h"
#include "tests/support/index_fixture.h"

/* Indexes of all kinds: rows have 48 dimensions where lean, 64 where turbo. */
enum {
    IMAGE_FILE_LEAN_EUCLID = 1,
    IMAGE_FILE_TURBO_EUCLID = 5,
    IMAGE_FILE_KINDS = 7,
};
extern const struct vector_index_options image_file_kinds[IMAGE_FILE_KINDS];

struct image_bytes {
    unsigned char *data; /* the caller's to free */
    size_t length;
};

/* The whole image of an index that must be saved, stamped with operation 77 of incarnation 99. */
struct image_bytes image_file_save(struct vector_index *index);
/* The same, or a delta, which is stamped with operation 78. */
struct image_bytes image_file_save_as(struct vector_index *index, enum index_image kind);

/* Opens a file of these bytes for reading and writing. */
int image_file_open(const struct image_bytes *image);

/* Fills a fresh index, and checks the stamp of one that is taken. */
enum status image_file_load(struct vector_index *index, const struct image_bytes *image,
                            struct error *error);
/* The same with a delta, if there is one; up to which operation they know the index. */
enum status image_file_load_both(struct vector_index *index, const struct image_bytes *image,
                                 const struct image_bytes *delta, uint64_t *operation,
                                 struct error *error);

/* An empty index over the fixture's slots and rows; to be freed by the caller. */
struct vector_index *image_file_fresh(struct fixture *fixture,
                                      const struct vector_index_options *options);

/* Such an index with the fixture's options, filled from the image and the delta, if there is one;
 * to be freed, refused or not. */
enum status image_file_load_fresh(struct fixture *fixture, const struct image_bytes *image,
                                  const struct image_bytes *delta, struct vector_index **index);

/* Image and delta, if there is one, must be refused as damaged: something is wrong at `at`. */
void image_file_must_refuse(struct fixture *fixture, const struct image_bytes *image,
                            const struct image_bytes *delta, const char *what, size_t at);

void image_file_flip(struct image_bytes *image, size_t bit);

/* Reads the edges that loading left in the file. */
void image_file_settle(struct vector_index *index);
/* The same, and writes those that are stale. */
void image_file_finish_edges(struct fixture *fixture, struct vector_index *index);
/* The share of the places of a turbo index whose edges are stale. */
double image_file_stale_share(struct vector_index *index);

/* The layout of an image, by its own words. */
struct image_layout image_file_layout(const struct image_bytes *image);

/* Puts right the sums of all pieces, of the table and of the header. */
void image_file_seal(struct image_bytes *image, const struct image_layout *layout);

/* A fixture with linked rows, twins (rows 9 to 39), waiting rows (the last tenth) and a hole. */
void image_file_build(struct fixture *fixture, const struct vector_index_options *options,
                      uint32_t rows);

#endif
