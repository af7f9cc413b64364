/* image.h -- an index as a file: all but the vectors themselves, laid as in memory.
 *
 * docs/FORMAT.md has the same table. Numbers are little-endian; parts begin at multiples of
 * IMAGE_PAGE and are filled up with zeros to the next one.
 *
 * header, one page:
 *    0  8  magic "nighgrph"           56  4  slots: one past the highest that has a vector
 *    8  4  version (3)                60  4  blocks of upper lists
 *   12  4  slots of a chunk           64  8  entry: level << 32 | slot; all ones: none
 *   16  4  dimension                  72  8  the owner's operation
 *   20  4  distance                   80  8  the owner's incarnation
 *   24  4  m                          88  4  default ef
 *   28  4  places of a level-0 list   92  4  distances a walk takes for each of ef, x 256
 *   32  8  bytes of a code            96  8  XXH3 of the table of sums
 *   40  8  bytes of head and links       ..  zeros
 *   48  8  bytes of a slot's edges    4088  8  XXH3 of the 4,088 bytes before
 * table: the XXH3 of each piece of each part, 8 bytes each, in their order in the file
 * for each chunk of STORE_CHUNK slots, of which the last may have fewer rows, four parts:
 *   codes, links, edges: one row a slot as in store.h; links are what a record has before its edges
 *   numbers: bits of the chunk: present, linked, twin (4 KiB each); code metas (8 a row), errors
 *     (4 a row), levels (1 a row, with IMAGE_SEED for seeds of walks)
 * upper lists: for each linked slot above level 0, in order: a list of m places a level
 *
 * A row of a slot that has no vector is zero, as are links and edges of one that is not linked; but
 * the links of a twin say in their third place of which slot it is one. Links lead to linked slots.
 *
 * Parts are cut into pieces of whole rows, as many as make about IMAGE_PIECE_BYTES; numbers are one
 * piece. What fills up a part belongs to its last piece.
 *
 * A start reads all but the edges, which are most of a turbo file and only make walks faster: they
 * are read while searches go on already, and written anew where their sums are wrong.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "index/hnsw.h"

enum {
    IMAGE_VERSION = 3, /* to be raised also when edges.h changes what a block of edges means */
    IMAGE_PAGE = 4096,
    IMAGE_SUM_AT = IMAGE_PAGE - 8, /* of the header's own sum */
    IMAGE_PIECE_BYTES = 1 << 20,
    IMAGE_SEED = 0x80, /* beside a level: walks look at the slot as they begin */
};

/* ---- Layout (image_layout.c): for saving and loading ------------------------------------------
 */

enum image_part_kind {
    IMAGE_CODES,
    IMAGE_LINKS,
    IMAGE_EDGES,
    IMAGE_NUMBERS,
    IMAGE_CHUNK_PARTS, /* a chunk has one of each of the above */
    IMAGE_UPPER = IMAGE_CHUNK_PARTS,
    IMAGE_PARTS,
};

struct image_part {
    uint64_t at, bytes; /* in the file, filled up to whole pages */
    uint64_t row_bytes;
    uint32_t rows, piece_rows;
    uint32_t pieces, first_piece; /* their number, and the place of the first in the table */
};

/* What a file holds, and thereby where. */
struct image_layout {
    uint32_t slots, chunks;
    uint32_t upper_blocks;
    uint64_t row_bytes[IMAGE_PARTS]; /* of numbers: of a full chunk; 0: no such part */
    uint32_t pieces;
    uint64_t file_bytes;
};

void image_layout_init(struct image_layout *layout, const struct hnsw *hnsw, uint32_t slots,
                       uint32_t upper_blocks);
/* chunk is 0 for IMAGE_UPPER. */
struct image_part image_part(const struct image_layout *layout, enum image_part_kind kind,
                             uint32_t chunk);
/* Where a piece of a part lies, and the rows in it. */
struct image_piece {
    uint64_t at, bytes;
    uint32_t first_row, rows;
};
struct image_piece image_piece(const struct image_part *part, uint32_t number);

/* Numbers of a chunk of `rows` slots: where each array begins. */
struct image_numbers {
    size_t present, linked, twin, metas, errors, levels, end;
};
struct image_numbers image_numbers(uint32_t rows);

/* ---- Saving and loading -----------------------------------------------------------------------
 */

/* What a start leaves in the file. */
struct image_rest {
    int fd;          /* owned; meaningless without sums */
    uint64_t *sums;  /* the table; owned; NULL: nothing is left */
    uint8_t *buffer; /* for a piece; owned */
    struct image_layout layout;
    uint32_t chunk, piece; /* of edges, that are read next */
    bool is_damaged;       /* a piece of this chunk was */
};

struct image {
    struct hnsw *hnsw;
    enum distance distance;
    struct index_stamp stamp; /* the owner's */
};

/* See vector_index_save and vector_index_load. */
MUST_CHECK enum status image_save(const struct image *image, int fd, struct error *error);
MUST_CHECK enum status image_load(struct image *image, int fd, struct image_rest *rest,
                                  struct error *error);

/* Reads exactly so many bytes; STATUS_CORRUPT where the file ends before. */
MUST_CHECK enum status image_read_bytes(int fd, uint64_t at, void *bytes, size_t length,
                                        struct error *error);

/* Reads the next piece of what _load left; false if nothing is left. One builder at a time. */
bool image_read_edges(struct image_rest *rest, struct hnsw *hnsw);
/* Closes the file. Accepts what _load was never called with, and zeros. */
void image_rest_free(struct image_rest *rest);

/* The first 56 bytes that an image of this index must have; the rest of the page is zero. */
void image_fill_header(const struct image *image, uint8_t header[IMAGE_PAGE]);

#endif
