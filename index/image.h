/* image.h -- an index as bytes: all but the vectors themselves.
 *
 * docs/FORMAT.md has the same table. Numbers are little-endian; everything is a multiple of 8
 * bytes.
 *
 * header, 128 bytes:
 *    0  8  magic "nighgrph"           48  8  entry: level << 32 | slot; all ones: none
 *    8  4  version (2)                56  4  slot_end: slots in the sections
 *   12  4  zero                       60  4  default ef
 *   16  4  dimension                  64  8  the owner's operation
 *   20  4  distance                   72  8  the owner's incarnation
 *   24  4  m                          80  4  distances a walk takes for each of ef, x 256
 *   28  4  places of a level-0 list   84 36  reserved, 0
 *   32  8  bytes of a code
 *   40  8  bits of a code's number (8)   120  8  XXH3 of bytes 0 .. 119
 * sections of IMAGE_SECTION_SLOTS slots each, in order of slots; count = slots of the section:
 *    present bits, linked bits, twin bits (8 bytes for each 64 slots)
 *    levels (count bytes, with IMAGE_SEED for seeds of walks), code metas (8 count),
 *    errors (4 count), twin-of (4 count)
 *    level-0 lists (4 places for each linked slot), codes (of each present slot)
 *    upper lists: for each linked slot of level > 0, in order, level lists of m places
 *    zeros up to a multiple of 8 after each of these; XXH3 of the section (8)
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "index/hnsw.h"

enum {
    IMAGE_VERSION = 2,
    IMAGE_SECTION_SLOTS = 4096,
    IMAGE_HEADER_BYTES = 128,
    IMAGE_SEED = 0x80, /* beside a level: walks look at the slot as they begin */
};

struct image {
    struct hnsw *hnsw;
    enum distance distance;
    uint64_t operation, incarnation; /* the owner's */
};

/* See vector_index_save and vector_index_load. */
MUST_CHECK enum status image_save(const struct image *image, vector_index_write_fn *write,
                                  void *context, struct error *error);
MUST_CHECK enum status image_load(struct image *image, const void *bytes, size_t length,
                                  struct error *error);

/* The first 48 bytes that an image of this index must have; the rest is zero (for image_load.c). */
void image_fill_header(const struct image *image, uint8_t header[IMAGE_HEADER_BYTES]);

#endif
