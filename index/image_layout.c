/* Where the parts of an image lie; image.h has the table. */
#include "index/image.h"

#include <assert.h>
#include <string.h>

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE;
}

static uint32_t piece_rows(uint64_t row_bytes) {
    uint32_t rows = 1;
    while (rows < STORE_CHUNK && rows * 2 * row_bytes <= IMAGE_PIECE_BYTES)
        rows *= 2;
    return rows;
}

void image_layout_init(struct image_layout *layout, const struct hnsw *hnsw) {
    const struct store *store = hnsw->store;
    uint64_t edge_bytes = store->record_bytes - store->edges_at;
    bool has_edges = layout->kind == INDEX_IMAGE_WHOLE && edge_bytes > 0;
    const struct {
        uint64_t row_bytes;
        uint32_t rows;
    } parts[IMAGE_PARTS] = {[IMAGE_NUMBERS] = {sizeof(struct image_row), layout->rows},
                            [IMAGE_CODES] = {store->code_bytes, layout->code_rows},
                            [IMAGE_LINKS] = {store->edges_at, layout->rows},
                            [IMAGE_EDGES] = {edge_bytes, has_edges ? layout->rows : 0},
                            [IMAGE_UPPER] = {hnsw->m * sizeof(uint32_t), layout->upper_blocks}};
    uint32_t pieces = 0;
    for (size_t i = 0; i < IMAGE_PARTS; i++) {
        struct image_part *part = &layout->parts[i];
        *part = (struct image_part){.row_bytes = parts[i].row_bytes,
                                    .rows = parts[i].rows,
                                    .piece_rows = piece_rows(parts[i].row_bytes),
                                    .first_piece = pieces};
        part->bytes = whole_pages(part->rows * part->row_bytes);
        part->pieces = (uint32_t)(((uint64_t)part->rows + part->piece_rows - 1) / part->piece_rows);
        pieces += part->pieces;
    }
    layout->table_bytes = whole_pages(pieces * sizeof(uint64_t));
    layout->file_bytes = IMAGE_PAGE + layout->table_bytes;
    for (size_t i = 0; i < IMAGE_PARTS; i++) {
        layout->parts[i].at = layout->file_bytes;
        layout->file_bytes += layout->parts[i].bytes;
    }
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

static const char magic[8] = {'n', 'i', 'g', 'h', 'g', 'r', 'p', 'h'};

void image_fill_header(const struct image *image, enum index_image kind,
                       uint8_t header[IMAGE_PAGE]) {
    const struct store *store = image->hnsw->store;
    const uint32_t words[] = {
        IMAGE_VERSION,   kind,           (uint32_t)image->hnsw->space->dimension,
        image->distance, image->hnsw->m, store->link_count};
    const uint64_t sizes[] = {store->code_bytes, store->edges_at,
                              store->record_bytes - store->edges_at};
    memset(header, 0, IMAGE_PAGE);
    memcpy(header, magic, sizeof(magic));
    memcpy(header + sizeof(magic), words, sizeof(words));
    memcpy(header + sizeof(magic) + sizeof(words), sizes, sizeof(sizes));
    strncpy((char *)header + IMAGE_KERNELS_AT, image->hnsw->space->kernels->name,
            IMAGE_KERNELS_BYTES);
}
