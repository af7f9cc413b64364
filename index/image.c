/* Saving an index, while searches, puts and links go on.
 *
 * What is linked, and what changed, is looked up while no builder is under way, so that each such
 * slot has all of its links. Later changes of a list may or may not be in the file; links to slots
 * that were linked later are left out, and the tree of kept links holds without them. A record is
 * copied together with its edges, for which its links say where they lead.
 *
 * A whole image begins with no slot counting as changed, so that whatever changes while it is being
 * written is in the next delta. Deltas leave the marks alone. */
#include "index/image.h"
#include "index/hnsw_links.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the image is written as the memory is: little-endian"
#endif

enum {
    DELTA_SHARE = 4, /* a delta is worth while up to a share 1 / so many of its image */
};

struct writer {
    const struct hnsw *hnsw;
    int fd;
    struct image_layout layout;
    uint32_t slot_end; /* of chunks that were there when the save began */
    uint32_t slots;    /* one past the highest that may have a vector */
    /* As of when the save began: bit per slot, whole chunks. */
    uint64_t *present, *linked, *twin;
    uint64_t entry;
    uint32_t *delta_slots;           /* of each row; NULL: row i is slot i */
    uint64_t *sums;                  /* of the pieces so far, in whole pages */
    uint8_t *buffer;                 /* for the largest piece */
    uint8_t *links;                  /* of a chunk's number of rows, filled up as in the file */
    uint32_t upper_row, upper_level; /* whose list comes next */
    struct error *error;
};

static uint32_t slot_of(const struct writer *writer, uint32_t row) {
    return writer->delta_slots ? writer->delta_slots[row] : row;
}

static uint8_t level_of(const struct store *store, uint32_t slot) {
    return atomic_load_explicit(&store_node(store, slot)->level, memory_order_relaxed);
}

/* ---- What is there ----------------------------------------------------------------------------
 */

/* Notes where each slot is. */
static void look_up_slots(struct writer *writer) {
    const struct store *store = writer->hnsw->store;
    for (uint32_t slot = 0; slot < writer->slot_end; slot++) {
        if (!store_is_present(store, slot))
            continue;
        bitmap_set(writer->present, slot);
        writer->slots = slot + 1;
        if (!store_is_waiting(store, slot))
            bitmap_set(store_kind(store, slot) == STORE_TWIN ? writer->twin : writer->linked, slot);
    }
    writer->entry = atomic_load_explicit(&writer->hnsw->entry, memory_order_acquire);
}

/* Notes the slots that changed, those with another code first. Each mark is read once: a slot may
 * be put meanwhile, which is then empty for us. */
static void look_up_changes(struct writer *writer) {
    const struct store *store = writer->hnsw->store;
    uint32_t recoded_end = 0, others = writer->slot_end; /* from here on to the end */
    for (uint32_t at = 0; at < writer->slot_end; at += BITMAP_WORD_BITS) {
        const struct store_chunk *chunk = store_chunk(store, at);
        size_t word = at % STORE_CHUNK / BITMAP_WORD_BITS;
        uint64_t recoded = atomic_load(&chunk->recoded[word]);
        for (uint64_t bits = atomic_load(&chunk->changed[word]) | recoded; bits != 0;) {
            uint32_t bit = bitmap_take_lowest(&bits);
            writer->delta_slots[recoded >> bit & 1 ? recoded_end++ : --others] = at + bit;
            if (at + bit >= writer->slots)
                writer->slots = at + bit + 1;
        }
    }
    writer->layout.code_rows = recoded_end;
    writer->layout.rows = recoded_end + writer->slot_end - others;
    memmove(writer->delta_slots + recoded_end, writer->delta_slots + others,
            (writer->slot_end - others) * sizeof(others));
}

static void count_upper(struct writer *writer) {
    for (uint32_t row = 0; row < writer->layout.rows; row++) {
        uint32_t slot = slot_of(writer, row);
        if (bitmap_test(writer->linked, slot))
            writer->layout.upper_blocks += level_of(writer->hnsw->store, slot);
    }
}

/* While no builder is under way. */
static void look_up(struct writer *writer) {
    if (!writer->delta_slots)
        store_forget_changes(writer->hnsw->store, writer->slot_end);
    look_up_slots(writer);
    writer->layout.rows = writer->layout.code_rows = writer->slots;
    if (writer->delta_slots)
        look_up_changes(writer);
    count_upper(writer);
}

/* ---- Pieces -----------------------------------------------------------------------------------
 */

static void fill_codes(struct writer *writer, uint32_t first, uint32_t rows) {
    const struct store *store = writer->hnsw->store;
    size_t bytes = store->code_bytes;
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = slot_of(writer, first + i);
        if (bitmap_test(writer->present, slot))
            memcpy(writer->buffer + i * bytes, store_code(store, slot), bytes);
    }
}

/* Takes out of a copied list what leads to slots that were linked after the save began. */
static void clean_list(const struct writer *writer, uint32_t *links, uint32_t places) {
    for (uint32_t i = 0; i < places; i++) {
        uint32_t to = hnsw_link_slot(links[i]);
        if (links[i] != SLOT_NONE && (to >= writer->slots || !bitmap_test(writer->linked, to)))
            links[i] = SLOT_NONE;
    }
}

/* Copies records, and their edges into the buffer if a whole image is to have them. */
static void copy_records(struct writer *writer, uint32_t first, uint32_t rows) {
    const struct hnsw *hnsw = writer->hnsw;
    const struct store *store = hnsw->store;
    size_t own = store->edges_at, edges = store->record_bytes - own;
    bool has_edges = writer->layout.parts[IMAGE_EDGES].rows > 0;
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = slot_of(writer, first + i);
        uint8_t *record = writer->links + ((first + i) & (STORE_CHUNK - 1)) * own;
        uint32_t *links = (uint32_t *)(void *)(record + store->links_at);
        if (bitmap_test(writer->linked, slot)) {
            hnsw_lock(hnsw, slot); /* links, edges and what is stale belong together */
            memcpy(record, store_record(store, slot), own);
            if (has_edges)
                memcpy(writer->buffer + i * edges, store_record(store, slot) + own, edges);
            hnsw_unlock(hnsw, slot);
            clean_list(writer, links, store->link_room);
        } else if (bitmap_test(writer->twin, slot)) {
            links[HNSW_TWIN_LINKED] = hnsw_twins_linked(hnsw, slot);
        }
    }
}

static void fill_numbers(struct writer *writer, uint32_t first, uint32_t rows) {
    const struct store *store = writer->hnsw->store;
    struct image_row *numbers = (struct image_row *)(void *)writer->buffer;
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = slot_of(writer, first + i);
        numbers[i].slot = slot;
        if (!bitmap_test(writer->present, slot))
            continue;
        numbers[i].meta = *store_meta(store, slot);
        numbers[i].error = *store_error(store, slot);
        numbers[i].level = level_of(store, slot);
        numbers[i].kind = bitmap_test(writer->linked, slot) ? IMAGE_ROW_LINKED
                          : bitmap_test(writer->twin, slot) ? IMAGE_ROW_TWIN
                                                            : IMAGE_ROW_WAITING;
    }
}

/* The next `blocks` upper lists. */
static void fill_upper(struct writer *writer, uint32_t blocks) {
    const struct hnsw *hnsw = writer->hnsw;
    uint32_t *links = (uint32_t *)(void *)writer->buffer;
    for (uint32_t i = 0; i < blocks; i++, links += hnsw->m) {
        uint32_t slot = slot_of(writer, writer->upper_row);
        while (!bitmap_test(writer->linked, slot) ||
               writer->upper_level >= level_of(hnsw->store, slot)) {
            slot = slot_of(writer, ++writer->upper_row);
            writer->upper_level = 0;
        }
        const _Atomic uint32_t *list = hnsw_list(hnsw, slot, ++writer->upper_level);
        hnsw_lock(hnsw, slot); /* in the middle of a change a link is there twice */
        for (uint32_t place = 0; place < hnsw->m; place++)
            links[place] = hnsw_link_load(list, place);
        hnsw_unlock(hnsw, slot);
        clean_list(writer, links, hnsw->m);
    }
}

/* Makes a piece, in the buffer but for links. */
static const uint8_t *fill(struct writer *writer, enum image_part_kind kind,
                           const struct image_piece *piece) {
    if (kind == IMAGE_LINKS)
        return writer->links +
               (piece->first_row & (STORE_CHUNK - 1)) * writer->layout.parts[IMAGE_LINKS].row_bytes;
    memset(writer->buffer, 0, piece->bytes);
    if (kind == IMAGE_NUMBERS)
        fill_numbers(writer, piece->first_row, piece->rows);
    else if (kind == IMAGE_CODES)
        fill_codes(writer, piece->first_row, piece->rows);
    else if (kind == IMAGE_EDGES)
        copy_records(writer, piece->first_row, piece->rows);
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

/* Writes a part's pieces that begin in these rows. */
static enum status write_rows(struct writer *writer, enum image_part_kind kind, uint32_t first,
                              uint32_t end) {
    const struct image_part *part = &writer->layout.parts[kind];
    enum status status = STATUS_OK;
    for (uint32_t i = first / part->piece_rows; i < part->pieces && status == STATUS_OK; i++) {
        if (i * part->piece_rows >= end)
            break;
        const struct image_piece piece = image_piece(part, i);
        const uint8_t *bytes = fill(writer, kind, &piece);
        writer->sums[part->first_piece + i] = XXH3_64bits(bytes, piece.bytes);
        status = write_at(writer, bytes, piece.bytes, piece.at);
        sched_yield(); /* a search that woke up on this core would wait for our time slice's end */
    }
    return status;
}

static void put_u32(uint8_t *header, size_t at, uint32_t value) {
    memcpy(header + at, &value, sizeof(value));
}

static void put_u64(uint8_t *header, size_t at, uint64_t value) {
    memcpy(header + at, &value, sizeof(value));
}

/* The seeds that the image knows as linked, then none. */
static void put_seeds(const struct writer *writer, uint8_t *header) {
    size_t count = 0;
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) {
        uint32_t seed = hnsw_seeds_load(&writer->hnsw->seeds, i);
        if (seed < writer->slots && bitmap_test(writer->linked, seed))
            put_u32(header, IMAGE_SEEDS_AT + sizeof(seed) * count++, seed);
    }
    while (count < HNSW_SEEDS_MAX)
        put_u32(header, IMAGE_SEEDS_AT + sizeof(uint32_t) * count++, SLOT_NONE);
}

/* Last of all: a file that was cut short has none. */
static enum status write_header(struct writer *writer, struct image *image) {
    uint8_t header[IMAGE_PAGE];
    const struct hnsw *hnsw = writer->hnsw;
    const struct image_layout *layout = &writer->layout;
    image_fill_header(image, layout->kind, header);
    put_u32(header, 56, layout->rows);
    put_u32(header, 60, layout->code_rows);
    put_u32(header, 64, writer->slots);
    put_u32(header, 68, layout->upper_blocks);
    put_u64(header, 72, writer->entry);
    put_u64(header, 80, image->stamp.operation);
    put_u64(header, 88, image->stamp.incarnation);
    put_u32(header, 96, atomic_load_explicit(&hnsw->default_ef, memory_order_relaxed));
    put_u32(header, 100, atomic_load_explicit(&hnsw->scored_per_ef, memory_order_relaxed));
    put_u64(header, 104, XXH3_64bits(writer->sums, layout->table_bytes));
    put_u64(header, 112, layout->kind == INDEX_IMAGE_DELTA ? image->base : 0);
    put_seeds(writer, header);
    uint64_t sum = XXH3_64bits(header, IMAGE_SUM_AT);
    put_u64(header, IMAGE_SUM_AT, sum);
    enum status status = write_at(writer, writer->sums, layout->table_bytes, IMAGE_PAGE);
    if (status == STATUS_OK)
        status = write_at(writer, header, IMAGE_PAGE, 0);
    if (status == STATUS_OK && layout->kind == INDEX_IMAGE_WHOLE)
        image->base = sum;
    return status;
}

/* Writes rows that have room in writer->links: edges before links, which are copied with them. */
static enum status write_chunk(struct writer *writer, uint32_t first, uint32_t end) {
    static const enum image_part_kind order[] = {IMAGE_NUMBERS, IMAGE_CODES, IMAGE_EDGES,
                                                 IMAGE_LINKS};
    const struct image_layout *layout = &writer->layout;
    enum status status = STATUS_OK;
    memset(writer->links, 0, (end - first) * layout->parts[IMAGE_LINKS].row_bytes + IMAGE_PAGE);
    if (layout->parts[IMAGE_EDGES].rows == 0)
        copy_records(writer, first, end - first);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && status == STATUS_OK; i++)
        status = write_rows(writer, order[i], first, end);
    return status;
}

static enum status save_all(struct writer *writer, struct image *image) {
    const struct image_layout *layout = &writer->layout;
    enum status status = STATUS_OK;
    for (uint32_t first = 0; first < layout->rows && status == STATUS_OK; first += STORE_CHUNK) {
        uint32_t left = layout->rows - first;
        status = write_chunk(writer, first, first + (left < STORE_CHUNK ? left : STORE_CHUNK));
    }
    if (status == STATUS_OK)
        status = write_rows(writer, IMAGE_UPPER, 0, layout->upper_blocks);
    return status == STATUS_OK ? write_header(writer, image) : status;
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

/* What looking up takes, for the slots there may be. */
static bool allocate_slots(struct writer *writer) {
    size_t words = writer->slot_end / BITMAP_WORD_BITS;
    bool is_delta = writer->layout.kind == INDEX_IMAGE_DELTA;
    writer->present = calloc(3 * words + 1, sizeof(uint64_t));
    writer->delta_slots = is_delta ? malloc((writer->slot_end + 1) * sizeof(uint32_t)) : NULL;
    if (!writer->present || (is_delta && !writer->delta_slots))
        return false;
    writer->linked = writer->present + words;
    writer->twin = writer->linked + words;
    return true;
}

static bool allocate_buffers(struct writer *writer) {
    const struct image_layout *layout = &writer->layout;
    uint64_t longest = 0;
    uint32_t rows = layout->rows < STORE_CHUNK ? layout->rows : STORE_CHUNK;
    for (enum image_part_kind kind = 0; kind < IMAGE_PARTS; kind++) {
        const struct image_part *part = &layout->parts[kind];
        uint64_t bytes = part->piece_rows * part->row_bytes + IMAGE_PAGE;
        longest = bytes > longest ? bytes : longest;
    }
    writer->buffer = malloc(longest);
    writer->links = malloc(rows * layout->parts[IMAGE_LINKS].row_bytes + IMAGE_PAGE);
    writer->sums = calloc(1, layout->table_bytes + 1);
    return writer->buffer && writer->links && writer->sums;
}

enum status image_save(struct image *image, enum index_image kind, int fd, struct error *error) {
    struct hnsw *hnsw = image->hnsw;
    struct writer writer = {.hnsw = hnsw,
                            .fd = fd,
                            .layout.kind = kind,
                            .slot_end = store_end(hnsw->store),
                            .error = error};
    assert(kind == INDEX_IMAGE_WHOLE || image->base != 0);
    bool has_memory = allocate_slots(&writer);
    if (has_memory) {
        if (kind == INDEX_IMAGE_WHOLE)
            image->base = 0;                /* until this one is there: the marks are gone */
        pthread_rwlock_wrlock(&hnsw->gate); /* some milliseconds for a million slots */
        look_up(&writer);
        pthread_rwlock_unlock(&hnsw->gate);
        image_layout_init(&writer.layout, hnsw);
        has_memory = allocate_buffers(&writer);
    }
    enum status status =
        has_memory ? save_all(&writer, image)
                   : error_set(error, STATUS_NO_MEMORY, "out of memory for saving a graph");
    free(writer.present);
    free(writer.delta_slots);
    free(writer.buffer);
    free(writer.links);
    free(writer.sums);
    return status;
}

enum index_image image_due(const struct store *store, uint64_t base) {
    const struct store_changes changes = store_count_changes(store);
    uint64_t present = atomic_load_explicit(&store->present_count, memory_order_relaxed);
    uint64_t row = sizeof(struct image_row) + store->edges_at;
    uint64_t whole = present * (sizeof(struct image_row) + store->code_bytes + store->record_bytes);
    uint64_t delta = changes.changed * row + changes.recoded * store->code_bytes;
    bool is_worth_while = base != 0 && delta < whole / DELTA_SHARE;
    return is_worth_while ? INDEX_IMAGE_DELTA : INDEX_IMAGE_WHOLE;
}
