/* image.h -- an index as files: all but the vectors themselves, laid as in memory.
 *
 * A whole image has a row for each slot, row i for slot i. A delta has rows for the slots that
 * changed since a whole image was written, and codes only for those of them that got another
 * vector; it replaces the delta before it, and is read after its image, over which it goes. Both
 * are of one form. docs/FORMAT.md has the same table. Numbers are little-endian; parts begin at
 * multiples of IMAGE_PAGE and are filled up with zeros to the next one.
 *
 * header, one page:
 *    0  8  magic "nighgrph"           60  4  of them, the first ones, have a code
 *    8  4  version (6)                64  4  slots: one past the highest that may have a vector
 *   12  4  kind: 0 whole, 1 delta     68  4  blocks of upper lists
 *   16  4  dimension                  72  8  entry: level << 32 | slot; all ones: none
 *   20  4  distance                   80  8  the owner's operation
 *   24  4  m                          88  8  the owner's incarnation
 *   28  4  places of a level-0 list   96  4  default ef
 *   32  8  bytes of a code           100  4  distances a walk takes for each of ef, x 256
 *   40  8  bytes of head and links   104  8  XXH3 of the table of sums
 *   48  8  bytes of a slot's edges   112  8  of a delta: the sum at 4088 of its image; else 0
 *   56  4  rows                      120  4 x 64  slots at which walks look as they begin; all ones
 *                                    376  16  name of the set of kernels (kernels.h)
 *                                    4088  8  XXH3 of the 4,088 bytes before
 * table: the XXH3 of each piece of each part, 8 bytes each, in their order in the file
 * parts:
 *   numbers: struct image_row
 *   codes: of the first rows, as many as the header says; in a whole image of all
 *   links: as in store.h: what a record has before its edges
 *   edges: the rest of a record; only in whole images
 *   upper lists: for each linked row above level 0, in order: a list of m places a level
 *
 * Code, links and edges of a row without a vector are zero, as are links and edges of one that is
 * not linked; but the links of a twin say in their third place of which slot it is one. Links lead
 * to linked slots.
 *
 * Parts are cut into pieces of whole rows, as many as make about IMAGE_PIECE_BYTES, at most
 * STORE_CHUNK. What fills up a part belongs to its last piece.
 *
 * A start reads all but the edges, which are most of a turbo file and only make walks faster: they
 * are read while searches go on already, and written anew where their sums are wrong. A delta has
 * none: where its links, or the codes they lead to, are those of the image, so are the edges.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "index/hnsw.h"

enum {
    /* To be raised also when edges.h changes what a block of edges means, or kernels.h how a row of
     * codes lies. */
    IMAGE_VERSION = 6,
    IMAGE_PAGE = 4096,
    IMAGE_SUM_AT = IMAGE_PAGE - 8, /* of the header's own sum */
    IMAGE_PIECE_BYTES = 1 << 20,
    IMAGE_SEEDS_AT = 120,
    IMAGE_KERNELS_AT = IMAGE_SEEDS_AT + 4 * HNSW_SEEDS_MAX,
    IMAGE_KERNELS_BYTES = 16,
};

/* What a slot is in an image. */
enum image_row_kind {
    IMAGE_ROW_EMPTY, /* no vector */
    IMAGE_ROW_WAITING,
    IMAGE_ROW_LINKED,
    IMAGE_ROW_TWIN,
    IMAGE_ROW_KINDS,
};

/* Numbers of a slot, as in the file. */
struct image_row {
    struct code_meta meta;
    float error; /* see codes_encode */
    uint32_t slot;
    uint8_t level, kind, zero[2];
};

_Static_assert(sizeof(struct image_row) == 20, "a row of the file");

/* ---- Layout (image_layout.c): for saving and loading ------------------------------------------
 */

enum image_part_kind {
    IMAGE_NUMBERS,
    IMAGE_CODES,
    IMAGE_LINKS,
    IMAGE_EDGES,
    IMAGE_UPPER,
    IMAGE_PARTS,
};

struct image_part {
    uint64_t at, bytes; /* in the file, filled up to whole pages */
    uint64_t row_bytes;
    uint32_t rows, piece_rows;    /* piece_rows: a power of two, at most STORE_CHUNK */
    uint32_t pieces, first_piece; /* their number, and the place of the first in the table */
};

/* What a file holds, and thereby where. */
struct image_layout {
    enum index_image kind;
    uint32_t rows, code_rows, upper_blocks;
    uint64_t table_bytes; /* in whole pages */
    uint64_t file_bytes;
    struct image_part parts[IMAGE_PARTS];
};

/* Lays out a file whose kind, rows, code_rows and upper_blocks are set. */
void image_layout_init(struct image_layout *layout, const struct hnsw *hnsw);

/* Where a piece of a part lies, and the rows in it. */
struct image_piece {
    uint64_t at, bytes;
    uint32_t first_row, rows;
};
struct image_piece image_piece(const struct image_part *part, uint32_t number);

/* ---- Saving and loading -----------------------------------------------------------------------
 */

/* What a start leaves in the file. */
struct image_rest {
    int fd;          /* owned; meaningless without sums */
    uint64_t *sums;  /* the table; owned; NULL: nothing is left */
    uint8_t *buffer; /* for a piece; owned */
    struct image_layout layout;
    uint32_t piece;  /* of edges, that is read next */
    bool is_damaged; /* a piece of this chunk was */
    bool is_foreign; /* another set of kernels wrote them, and lays them in its own way */
};

struct image {
    struct hnsw *hnsw;
    enum distance distance;
    struct index_stamp stamp; /* the owner's */
    /* The header's sum of the whole image that holds all but what store.h has marked as changed
     * since; 0: there is none. */
    uint64_t base;
};

/* See vector_index_save and vector_index_load. Both set image->base. */
MUST_CHECK enum status image_save(struct image *image, enum index_image kind, int fd,
                                  struct error *error);
MUST_CHECK enum status image_load(struct image *image, const struct index_files *files,
                                  struct image_rest *rest, struct error *error);

/* See vector_index_image_due; base: as in struct image. */
enum index_image image_due(const struct store *store, uint64_t base);

/* Reads exactly so many bytes; STATUS_CORRUPT where the file ends before. */
MUST_CHECK enum status image_read_bytes(int fd, uint64_t at, void *bytes, size_t length,
                                        struct error *error);

/* Reads the next piece of what _load left; false if nothing is left. One builder at a time. */
bool image_read_edges(struct image_rest *rest, struct hnsw *hnsw);
/* Closes the file. Accepts what _load was never called with, and zeros. */
void image_rest_free(struct image_rest *rest);

/* The first 56 bytes that an image of this index must have; the rest of the page is zero. */
void image_fill_header(const struct image *image, enum index_image kind,
                       uint8_t header[IMAGE_PAGE]);

#endif
