/* Where the parts of an image lie; image.h has the table. */
#include "index/image.h"

#include <assert.h>
#include <string.h>

enum {
    BITMAP_BYTES = STORE_CHUNK_WORDS * sizeof(uint64_t),
};

_Static_assert(BITMAP_BYTES % IMAGE_PAGE == 0, "bitmaps of a chunk are whole pages");

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE;
}

struct image_numbers image_numbers(uint32_t rows) {
    struct image_numbers numbers = {.linked = BITMAP_BYTES,
                                    .twin = (size_t)2 * BITMAP_BYTES,
                                    .metas = (size_t)3 * BITMAP_BYTES};
    numbers.errors = numbers.metas + rows * sizeof(struct code_meta);
    numbers.levels = numbers.errors + rows * sizeof(float);
    numbers.end = numbers.levels + rows;
    return numbers;
}

/* A power of two of rows, at least one. */
static uint32_t piece_rows(uint64_t row_bytes) {
    uint32_t rows = 1;
    while (rows < STORE_CHUNK && rows * 2 * row_bytes <= IMAGE_PIECE_BYTES)
        rows *= 2;
    return rows;
}

/* A part by itself: all but where it lies. */
static struct image_part make_part(const struct image_layout *layout, enum image_part_kind kind,
                                   uint32_t rows) {
    struct image_part part = {.row_bytes = layout->row_bytes[kind], .rows = rows};
    if (kind == IMAGE_NUMBERS) { /* one row */
        part.row_bytes = image_numbers(rows).end;
        part.rows = rows > 0;
    }
    if (part.row_bytes == 0)
        part.rows = 0;
    part.piece_rows = piece_rows(part.row_bytes);
    part.bytes = whole_pages(part.rows * part.row_bytes);
    part.pieces = (part.rows + part.piece_rows - 1) / part.piece_rows;
    return part;
}

struct image_part image_part(const struct image_layout *layout, enum image_part_kind kind,
                             uint32_t chunk) {
    struct image_part part = {.at = IMAGE_PAGE + whole_pages(layout->pieces * sizeof(uint64_t))};
    uint64_t at = part.at;
    uint32_t first_piece = 0, full_chunks = kind == IMAGE_UPPER ? layout->chunks : chunk;
    /* All chunks but the last are alike. */
    uint32_t last_rows = layout->slots % STORE_CHUNK;
    if (kind == IMAGE_UPPER && last_rows > 0)
        full_chunks--;
    for (enum image_part_kind k = 0; k < IMAGE_CHUNK_PARTS; k++) {
        const struct image_part full = make_part(layout, k, STORE_CHUNK);
        at += full_chunks * full.bytes;
        first_piece += full_chunks * full.pieces;
    }
    uint32_t rows = kind != IMAGE_UPPER && chunk + 1 < layout->chunks ? STORE_CHUNK : last_rows;
    if (kind != IMAGE_UPPER && rows == 0)
        rows = STORE_CHUNK;
    for (enum image_part_kind k = 0; k < kind && k < IMAGE_CHUNK_PARTS; k++) {
        const struct image_part before = make_part(layout, k, rows);
        at += before.bytes;
        first_piece += before.pieces;
    }
    part = make_part(layout, kind, kind == IMAGE_UPPER ? layout->upper_blocks : rows);
    part.at = at;
    part.first_piece = first_piece;
    return part;
}

struct image_piece image_piece(const struct image_part *part, uint32_t number) {
    assert(number < part->pieces);
    struct image_piece piece = {.first_row = number * part->piece_rows};
    bool is_last = number + 1 == part->pieces;
    uint64_t start = piece.first_row * part->row_bytes;
    piece.at = part->at + start;
    piece.rows = is_last ? part->rows - piece.first_row : part->piece_rows;
    piece.bytes = is_last ? part->bytes - start : piece.rows * part->row_bytes;
    return piece;
}

void image_layout_init(struct image_layout *layout, const struct hnsw *hnsw, uint32_t slots,
                       uint32_t upper_blocks) {
    *layout = (struct image_layout){
        .slots = slots,
        .chunks = (slots + STORE_CHUNK - 1) / STORE_CHUNK,
        .upper_blocks = upper_blocks,
        .row_bytes = {[IMAGE_CODES] = hnsw->store->code_bytes,
                      [IMAGE_LINKS] = hnsw->store->edges_at,
                      [IMAGE_EDGES] = hnsw->store->record_bytes - hnsw->store->edges_at,
                      [IMAGE_NUMBERS] = image_numbers(STORE_CHUNK).end,
                      [IMAGE_UPPER] = hnsw->m * sizeof(uint32_t)},
    };
    struct image_part upper = image_part(layout, IMAGE_UPPER, 0);
    layout->pieces = upper.first_piece + upper.pieces;
    upper = image_part(layout, IMAGE_UPPER, 0); /* behind a table of so many */
    layout->file_bytes = upper.at + upper.bytes;
}

static const char magic[8] = {'n', 'i', 'g', 'h', 'g', 'r', 'p', 'h'};

void image_fill_header(const struct image *image, uint8_t header[IMAGE_PAGE]) {
    const struct store *store = image->hnsw->store;
    const uint32_t words[] = {
        IMAGE_VERSION,   STORE_CHUNK,    (uint32_t)image->hnsw->space->dimension,
        image->distance, image->hnsw->m, store->link_count};
    const uint64_t sizes[] = {store->code_bytes, store->edges_at,
                              store->record_bytes - store->edges_at};
    memset(header, 0, IMAGE_PAGE);
    memcpy(header, magic, sizeof(magic));
    memcpy(header + sizeof(magic), words, sizeof(words));
    memcpy(header + sizeof(magic) + sizeof(words), sizes, sizeof(sizes));
}
