/* Saving an index, while searches, puts and links go on.
 *
 * What is linked is looked up while no builder is under way, so that each such slot has all of its
 * links. Later changes of a list may or may not be in the file; links to slots that were linked
 * later are left out, and the tree of kept links holds without them. A record is copied together
 * with its edges, for which its links say where they lead. */
#include "index/image.h"
#include "index/hnsw_links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the image is written as the memory is: little-endian"
#endif

struct writer {
    const struct hnsw *hnsw;
    int fd;
    struct image_layout layout;
    /* As of when the save began: bit per slot, whole chunks. */
    uint64_t *present, *linked, *twin;
    uint64_t entry;
    uint64_t *sums;                   /* of the pieces so far, in whole pages */
    uint8_t *buffer;                  /* for the largest piece */
    uint8_t *links;                   /* of the present chunk, filled up as in the file */
    uint32_t upper_slot, upper_level; /* whose list comes next */
    struct error *error;
};

/* ---- What is there ----------------------------------------------------------------------------
 */

/* One past the highest slot that has a vector. */
static uint32_t used_end(const struct store *store) {
    uint32_t slot = store_end(store);
    while (slot > 0 && !store_is_present(store, slot - 1))
        slot--;
    return slot;
}

static uint8_t level_of(const struct store *store, uint32_t slot) {
    return atomic_load_explicit(&store_node(store, slot)->level, memory_order_relaxed);
}

/* Notes which slots are there; the number of blocks of upper lists. */
static uint32_t look_up(struct writer *writer, uint32_t slots) {
    const struct store *store = writer->hnsw->store;
    uint32_t upper_blocks = 0;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (!store_is_present(store, slot))
            continue;
        bitmap_set(writer->present, slot);
        if (store_is_waiting(store, slot))
            continue;
        if (store_kind(store, slot) == STORE_TWIN) {
            bitmap_set(writer->twin, slot);
        } else {
            bitmap_set(writer->linked, slot);
            upper_blocks += level_of(store, slot);
        }
    }
    writer->entry = atomic_load_explicit(&writer->hnsw->entry, memory_order_acquire);
    return upper_blocks;
}

/* ---- Pieces -----------------------------------------------------------------------------------
 */

static void fill_codes(struct writer *writer, uint32_t first, uint32_t rows) {
    const struct store *store = writer->hnsw->store;
    size_t bytes = store->code_bytes;
    for (uint32_t i = 0; i < rows; i++) {
        if (bitmap_test(writer->present, first + i))
            memcpy(writer->buffer + i * bytes, store_code(store, first + i), bytes);
    }
}

/* Takes out of a copied list what leads to slots that were linked after the save began. */
static void clean_list(const struct writer *writer, uint32_t *links, uint32_t places) {
    for (uint32_t i = 0; i < places; i++) {
        uint32_t to = hnsw_link_slot(links[i]);
        if (links[i] != SLOT_NONE &&
            (to >= writer->layout.slots || !bitmap_test(writer->linked, to)))
            links[i] = SLOT_NONE;
    }
}

/* Copies records, and their edges into the buffer if there are any. `first` is the slot, `row` its
 * place in the chunk. */
static void copy_records(struct writer *writer, uint32_t first, uint32_t row, uint32_t rows) {
    const struct hnsw *hnsw = writer->hnsw;
    const struct store *store = hnsw->store;
    size_t own = store->edges_at, edges = store->record_bytes - own;
    for (uint32_t i = 0; i < rows; i++) {
        uint8_t *record = writer->links + (row + i) * own;
        uint32_t *links = (uint32_t *)(void *)(record + store->links_at);
        if (bitmap_test(writer->linked, first + i)) {
            hnsw_lock(hnsw, first + i); /* links, edges and what is stale belong together */
            memcpy(record, store_record(store, first + i), own);
            if (edges > 0)
                memcpy(writer->buffer + i * edges, store_record(store, first + i) + own, edges);
            hnsw_unlock(hnsw, first + i);
            clean_list(writer, links, store->link_room);
        } else if (bitmap_test(writer->twin, first + i)) {
            links[HNSW_TWIN_LINKED] = hnsw_twins_linked(hnsw, first + i);
        }
    }
}

static void fill_numbers(struct writer *writer, uint32_t chunk, uint32_t rows) {
    const struct hnsw *hnsw = writer->hnsw;
    const struct store *store = hnsw->store;
    const struct image_numbers at = image_numbers(rows);
    uint32_t first = chunk * (uint32_t)STORE_CHUNK;
    size_t word = first / BITMAP_WORD_BITS, bytes = STORE_CHUNK_WORDS * sizeof(uint64_t);
    memcpy(writer->buffer + at.present, writer->present + word, bytes);
    memcpy(writer->buffer + at.linked, writer->linked + word, bytes);
    memcpy(writer->buffer + at.twin, writer->twin + word, bytes);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = first + i;
        if (!bitmap_test(writer->present, slot))
            continue;
        memcpy(writer->buffer + at.metas + i * sizeof(struct code_meta), store_meta(store, slot),
               sizeof(struct code_meta));
        memcpy(writer->buffer + at.errors + i * sizeof(float), store_error(store, slot),
               sizeof(float));
        bool is_seed = bitmap_test(writer->linked, slot) && hnsw_seeds_has(&hnsw->seeds, slot);
        writer->buffer[at.levels + i] = level_of(store, slot) | (is_seed ? IMAGE_SEED : 0);
    }
}

/* The next `blocks` upper lists. */
static void fill_upper(struct writer *writer, uint32_t blocks) {
    const struct hnsw *hnsw = writer->hnsw;
    uint32_t *links = (uint32_t *)(void *)writer->buffer;
    for (uint32_t i = 0; i < blocks; i++, links += hnsw->m) {
        while (!bitmap_test(writer->linked, writer->upper_slot) ||
               writer->upper_level >= level_of(hnsw->store, writer->upper_slot)) {
            writer->upper_slot++;
            writer->upper_level = 0;
        }
        const _Atomic uint32_t *list = hnsw_list(hnsw, writer->upper_slot, ++writer->upper_level);
        hnsw_lock(hnsw, writer->upper_slot); /* in the middle of a change a link is there twice */
        for (uint32_t place = 0; place < hnsw->m; place++)
            links[place] = hnsw_link_load(list, place);
        hnsw_unlock(hnsw, writer->upper_slot);
        clean_list(writer, links, hnsw->m);
    }
}

/* Makes a piece, in the buffer but for links. */
static const uint8_t *fill(struct writer *writer, enum image_part_kind kind, uint32_t chunk,
                           const struct image_piece *piece) {
    uint32_t first = chunk * (uint32_t)STORE_CHUNK + piece->first_row;
    if (kind == IMAGE_LINKS)
        return writer->links + piece->first_row * writer->layout.row_bytes[IMAGE_LINKS];
    memset(writer->buffer, 0, piece->bytes);
    if (kind == IMAGE_CODES)
        fill_codes(writer, first, piece->rows);
    else if (kind == IMAGE_EDGES)
        copy_records(writer, first, piece->first_row, piece->rows);
    else if (kind == IMAGE_NUMBERS)
        fill_numbers(writer, chunk, image_part(&writer->layout, IMAGE_CODES, chunk).rows);
    else
        fill_upper(writer, piece->rows);
    return writer->buffer;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static enum status write_at(struct writer *writer, const void *bytes, uint64_t length,
                            uint64_t at) {
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t written = pwrite(writer->fd, from, length, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            int code = written < 0 ? errno : ENOSPC;
            bool is_full = code == ENOSPC || code == EDQUOT || code == EFBIG;
            return error_set(writer->error, is_full ? STATUS_NO_SPACE : STATUS_IO,
                             "write a graph image: %s", strerror(code));
        }
        from += written;
        at += (uint64_t)written;
        length -= (uint64_t)written;
    }
    return STATUS_OK;
}

static enum status write_part(struct writer *writer, enum image_part_kind kind, uint32_t chunk) {
    const struct image_part part = image_part(&writer->layout, kind, chunk);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < part.pieces && status == STATUS_OK; i++) {
        const struct image_piece piece = image_piece(&part, i);
        const uint8_t *bytes = fill(writer, kind, chunk, &piece);
        writer->sums[part.first_piece + i] = XXH3_64bits(bytes, piece.bytes);
        status = write_at(writer, bytes, piece.bytes, piece.at);
    }
    return status;
}

static void put_u32(uint8_t *header, size_t at, uint32_t value) {
    memcpy(header + at, &value, sizeof(value));
}

static void put_u64(uint8_t *header, size_t at, uint64_t value) {
    memcpy(header + at, &value, sizeof(value));
}

static uint64_t table_bytes(const struct image_layout *layout) {
    return image_part(layout, IMAGE_CODES, 0).at - IMAGE_PAGE;
}

/* Last of all: a file that was cut short has none. */
static enum status write_header(struct writer *writer, const struct image *image) {
    uint8_t header[IMAGE_PAGE];
    const struct hnsw *hnsw = writer->hnsw;
    uint64_t length = table_bytes(&writer->layout);
    image_fill_header(image, header);
    put_u32(header, 56, writer->layout.slots);
    put_u32(header, 60, writer->layout.upper_blocks);
    put_u64(header, 64, writer->entry);
    put_u64(header, 72, image->stamp.operation);
    put_u64(header, 80, image->stamp.incarnation);
    put_u32(header, 88, atomic_load_explicit(&hnsw->default_ef, memory_order_relaxed));
    put_u32(header, 92, atomic_load_explicit(&hnsw->scored_per_ef, memory_order_relaxed));
    put_u64(header, 96, XXH3_64bits(writer->sums, length));
    put_u64(header, IMAGE_SUM_AT, XXH3_64bits(header, IMAGE_SUM_AT));
    enum status status = write_at(writer, writer->sums, length, IMAGE_PAGE);
    return status == STATUS_OK ? write_at(writer, header, IMAGE_PAGE, 0) : status;
}

static enum status write_chunk(struct writer *writer, uint32_t chunk) {
    /* Edges before links, which are copied with them. */
    static const enum image_part_kind order[] = {IMAGE_CODES, IMAGE_EDGES, IMAGE_LINKS,
                                                 IMAGE_NUMBERS};
    const struct image_part links = image_part(&writer->layout, IMAGE_LINKS, chunk);
    enum status status = STATUS_OK;
    memset(writer->links, 0, links.bytes);
    if (writer->hnsw->store->edge_blocks == 0)
        copy_records(writer, chunk * (uint32_t)STORE_CHUNK, 0, links.rows);
    for (size_t i = 0; i < IMAGE_CHUNK_PARTS && status == STATUS_OK; i++)
        status = write_part(writer, order[i], chunk);
    return status;
}

static enum status save_all(struct writer *writer, const struct image *image) {
    enum status status = STATUS_OK;
    for (uint32_t chunk = 0; chunk < writer->layout.chunks && status == STATUS_OK; chunk++)
        status = write_chunk(writer, chunk);
    if (status == STATUS_OK)
        status = write_part(writer, IMAGE_UPPER, 0);
    return status == STATUS_OK ? write_header(writer, image) : status;
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

static bool allocate_bits(struct writer *writer, uint32_t slots) {
    size_t words = ((size_t)slots / STORE_CHUNK + 1) * STORE_CHUNK_WORDS;
    writer->present = calloc(3 * words, sizeof(uint64_t));
    if (!writer->present)
        return false;
    writer->linked = writer->present + words;
    writer->twin = writer->linked + words;
    return true;
}

static bool allocate_buffers(struct writer *writer) {
    uint64_t longest = 0;
    for (enum image_part_kind kind = 0; kind < IMAGE_PARTS; kind++) {
        const struct image_part part = image_part(&writer->layout, kind, 0);
        uint64_t bytes = part.piece_rows * part.row_bytes + IMAGE_PAGE;
        longest = bytes > longest ? bytes : longest;
    }
    writer->buffer = malloc(longest);
    writer->links = malloc(image_part(&writer->layout, IMAGE_LINKS, 0).bytes + 1);
    writer->sums = calloc(1, table_bytes(&writer->layout) + 1);
    return writer->buffer && writer->links && writer->sums;
}

enum status image_save(const struct image *image, int fd, struct error *error) {
    struct hnsw *hnsw = image->hnsw;
    struct writer writer = {.hnsw = hnsw, .fd = fd, .error = error};
    uint32_t slots = used_end(hnsw->store);
    bool has_memory = allocate_bits(&writer, slots);
    if (has_memory) {
        pthread_rwlock_wrlock(&hnsw->gate); /* a millisecond for a million slots */
        uint32_t upper_blocks = look_up(&writer, slots);
        pthread_rwlock_unlock(&hnsw->gate);
        image_layout_init(&writer.layout, hnsw, slots, upper_blocks);
        has_memory = allocate_buffers(&writer);
    }
    enum status status =
        has_memory ? save_all(&writer, image)
                   : error_set(error, STATUS_NO_MEMORY, "out of memory for saving a graph");
    free(writer.present);
    free(writer.buffer);
    free(writer.links);
    free(writer.sums);
    return status;
}
