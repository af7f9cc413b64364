/* Filling an index from a whole image and a delta. Nothing in them is believed: lengths are checked
 * before they are used, sums before the content, and each number against its range; all of that
 * before the first search, so that no search ever needs to look twice.
 *
 * First the numbers of both files, which say what each slot is, and upper lists, while other cores
 * read codes already; then codes and links of the whole image and over them those of the delta,
 * which may lead to any slot of either. */
#include "index/image_load.h"
#include "index/hnsw_links.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

static enum status corrupt(struct image_reader *reader, const char *what, uint64_t at) {
    return error_set(reader->error, STATUS_CORRUPT, "graph image: %s (at byte %" PRIu64 ")", what,
                     at);
}

static enum status no_memory(struct image_reader *reader) {
    return error_set(reader->error, STATUS_NO_MEMORY, "out of memory for a graph");
}

static uint32_t get_u32(const uint8_t *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t get_u64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* ---- The header and the table -----------------------------------------------------------------
 */

/* The counts of a header: how many rows of what there are. */
static enum status take_counts(struct image_reader *reader, struct image_file *file,
                               const uint8_t *header) {
    struct image_layout *layout = &file->layout;
    uint32_t slots = get_u32(header + 64);
    layout->rows = get_u32(header + 56);
    layout->code_rows = get_u32(header + 60);
    layout->upper_blocks = get_u32(header + 68);
    if (slots > SLOT_MAX || layout->rows > slots || layout->code_rows > layout->rows)
        return corrupt(reader, "names too many slots", 56);
    if (!image_is_delta(file) && (layout->rows < slots || layout->code_rows < slots))
        return corrupt(reader, "lacks slots", 56);
    image_layout_init(layout, reader->hnsw);
    reader->slots = slots > reader->slots ? slots : reader->slots;
    return STATUS_OK;
}

/* The numbers of a header whose sum is right. */
static enum status take_header(struct image_reader *reader, struct image_file *file,
                               const uint8_t *header) {
    uint32_t ef = get_u32(header + 96);
    const struct index_stamp stamp = {.operation = get_u64(header + 80),
                                      .incarnation = get_u64(header + 88)};
    if (ef == 0 || ef > VECTOR_INDEX_EF_MAX)
        return corrupt(reader, "a default ef out of range", 96);
    if (image_is_delta(file) && (stamp.incarnation != reader->image->stamp.incarnation ||
                                 stamp.operation < reader->image->stamp.operation))
        return corrupt(reader, "a delta that was made before its image", 80);
    reader->image->stamp = stamp;
    reader->entry = get_u64(header + 72);
    file->table_sum = get_u64(header + 104);
    memcpy(reader->seeds, header + IMAGE_SEEDS_AT, sizeof(reader->seeds));
    atomic_store_explicit(&reader->hnsw->default_ef, ef, memory_order_relaxed);
    atomic_store_explicit(&reader->hnsw->scored_per_ef, get_u32(header + 100),
                          memory_order_relaxed);
    return take_counts(reader, file, header);
}

/* *is_foreign if it is a delta to another image. */
static enum status check_header(struct image_reader *reader, struct image_file *file,
                                const uint8_t *header, bool *is_foreign) {
    uint8_t expected[IMAGE_PAGE];
    file->sum = get_u64(header + IMAGE_SUM_AT);
    if (file->sum != XXH3_64bits(header, IMAGE_SUM_AT))
        return corrupt(reader, "wrong checksum of the header", 0);
    image_fill_header(reader->image, file->layout.kind, expected);
    if (memcmp(header, expected, 56) != 0)
        return corrupt(reader, "of another version, dimension, distance, m or profile", 0);
    file->has_own_edges =
        memcmp(header + IMAGE_KERNELS_AT, expected + IMAGE_KERNELS_AT, IMAGE_KERNELS_BYTES) == 0;
    *is_foreign = image_is_delta(file) && get_u64(header + 112) != reader->files[0].sum;
    return *is_foreign ? STATUS_OK : take_header(reader, file, header);
}

/* Reads a header, and takes the file among those that are read. */
static enum status read_header(struct image_reader *reader, enum index_image kind, int fd) {
    struct image_file *file = &reader->files[kind];
    uint8_t header[IMAGE_PAGE];
    bool is_foreign = false;
    struct stat info;
    *file = (struct image_file){.fd = fd, .layout.kind = kind};
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
        return error_set(reader->error, STATUS_IO, "graph image: not a file");
    uint64_t length = (uint64_t)info.st_size;
    if (length < IMAGE_PAGE)
        return corrupt(reader, "shorter than its header", length);
    enum status status = image_read_bytes(fd, 0, header, IMAGE_PAGE, reader->error);
    if (status == STATUS_OK)
        status = check_header(reader, file, header, &is_foreign);
    if (status != STATUS_OK || is_foreign)
        return status;
    if (length != file->layout.file_bytes)
        return corrupt(reader, "not as long as its header says", length);
    reader->files_count = kind + 1;
    return STATUS_OK;
}

static enum status read_table(struct image_reader *reader, struct image_file *file) {
    uint64_t length = file->layout.table_bytes;
    file->sums = malloc(length + 1);
    if (!file->sums)
        return no_memory(reader);
    enum status status = image_read_bytes(file->fd, IMAGE_PAGE, file->sums, length, reader->error);
    if (status == STATUS_OK && file->table_sum != XXH3_64bits(file->sums, length))
        return corrupt(reader, "wrong checksum of the table of sums", IMAGE_PAGE);
    return status;
}

/* Reads a part that is no array of the store; *bytes is the caller's to free, also on failure. */
static enum status read_part(struct image_reader *reader, const struct image_file *file,
                             enum image_part_kind kind, void **bytes) {
    const struct image_part *part = &file->layout.parts[kind];
    uint8_t *to = *bytes = malloc(part->bytes + 1);
    if (!to)
        return no_memory(reader);
    enum status status = image_read_bytes(file->fd, part->at, to, part->bytes, reader->error);
    for (uint32_t i = 0; i < part->pieces && status == STATUS_OK; i++) {
        const struct image_piece piece = image_piece(part, i);
        if (XXH3_64bits(to + (piece.at - part->at), piece.bytes) !=
            file->sums[part->first_piece + i])
            return corrupt(reader, "wrong checksum", piece.at);
    }
    return status;
}

/* ---- Numbers ----------------------------------------------------------------------------------
 */

static bool is_number(float value) {
    return value >= 0; /* false for NaN */
}

/* Lengths and errors of large vectors leave f32. */
static bool is_row_sound(const struct image_row *row) {
    return is_number(row->meta.scale) && is_number(row->meta.length) && is_number(row->error) &&
           !isinf(row->meta.scale) && row->level <= UPPER_LEVEL_MAX && row->kind < IMAGE_ROW_KINDS;
}

/* Row i of a whole image is slot i; a delta has each slot once, and a code for each that the image
 * has none of. */
static bool is_slot_sound(const struct image_reader *reader, const struct image_file *file,
                          uint32_t row) {
    const struct image_file *whole = &reader->files[INDEX_IMAGE_WHOLE];
    uint32_t slot = file->rows[row].slot;
    if (!image_is_delta(file))
        return slot == row;
    if (slot >= reader->slots || bitmap_test(reader->newer, slot))
        return false;
    return row < file->layout.code_rows || file->rows[row].kind == IMAGE_ROW_EMPTY ||
           (slot < whole->layout.rows && whole->rows[slot].kind != IMAGE_ROW_EMPTY);
}

static void assign(uint64_t *bits, uint32_t slot, bool value) {
    uint64_t bit = UINT64_C(1) << slot % BITMAP_WORD_BITS;
    uint64_t *word = &bits[slot / BITMAP_WORD_BITS];
    *word = value ? *word | bit : *word & ~bit;
}

static void take_row(struct image_reader *reader, const struct image_file *file, uint32_t row) {
    const struct image_row *numbers = &file->rows[row];
    uint32_t slot = numbers->slot;
    assign(reader->present, slot, numbers->kind != IMAGE_ROW_EMPTY);
    assign(reader->linked, slot, numbers->kind == IMAGE_ROW_LINKED);
    assign(reader->twin, slot, numbers->kind == IMAGE_ROW_TWIN);
    if (image_is_delta(file)) {
        bitmap_set(reader->newer, slot);
        if (row < file->layout.code_rows)
            bitmap_set(reader->recoded, slot);
    }
    *store_meta(reader->store, slot) = numbers->meta;
    *store_error(reader->store, slot) = numbers->error;
    atomic_store_explicit(&store_node(reader->store, slot)->level, numbers->level,
                          memory_order_relaxed);
}

static enum status read_numbers(struct image_reader *reader, struct image_file *file) {
    void *bytes;
    enum status status = read_part(reader, file, IMAGE_NUMBERS, &bytes);
    file->rows = bytes;
    uint64_t at = file->layout.parts[IMAGE_NUMBERS].at;
    for (uint32_t row = 0; row < file->layout.rows && status == STATUS_OK; row++) {
        if (!is_row_sound(&file->rows[row]))
            return corrupt(reader, "a slot has a number out of range",
                           at + row * sizeof(*file->rows));
        if (!is_slot_sound(reader, file, row))
            return corrupt(reader, "a slot out of its place", at + row * sizeof(*file->rows));
        take_row(reader, file, row);
    }
    return status;
}

static void restore(struct image_reader *reader) {
    for (uint32_t slot = 0; slot < reader->slots; slot++) {
        if (bitmap_test(reader->linked, slot))
            store_restore(reader->store, slot, (uint8_t)image_level(reader, slot));
    }
}

/* ---- Upper lists ------------------------------------------------------------------------------
 */

/* The lists of one slot; false if memory ends, *is_sound false if a link leads nowhere. */
static bool take_upper(struct image_reader *reader, uint32_t slot, const uint8_t *bytes,
                       bool *is_sound) {
    struct hnsw *hnsw = reader->hnsw;
    struct store_node *node = store_node(reader->store, slot);
    uint32_t level = image_level(reader, slot), block;
    if (!upper_links_allocate(&hnsw->upper, level, &block))
        return false;
    atomic_store_explicit(&node->upper, block, memory_order_relaxed);
    atomic_store_explicit(&node->level_limit, (uint8_t)level, memory_order_relaxed);
    for (uint32_t at = 1; at <= level; at++) {
        for (uint32_t i = 0; i < hnsw->m; i++, bytes += sizeof(uint32_t)) {
            uint32_t to = get_u32(bytes);
            *is_sound &= to == SLOT_NONE ||
                         (to < reader->slots && /* a slot, no flags */
                          bitmap_test(reader->linked, to) && image_level(reader, to) >= at);
            hnsw_link_store(hnsw_list(hnsw, slot, at), i, to);
        }
    }
    return true;
}

static enum status take_all_upper(struct image_reader *reader, const struct image_file *file,
                                  const uint8_t *bytes) {
    const struct image_part *part = &file->layout.parts[IMAGE_UPPER];
    uint64_t blocks = 0;
    bool is_sound = true;
    for (uint32_t i = 0; i < file->layout.rows; i++) {
        const struct image_row *row = &file->rows[i];
        uint32_t level = row->kind == IMAGE_ROW_LINKED ? row->level : 0;
        if (blocks + level > part->rows)
            return corrupt(reader, "lacks upper lists", part->at);
        bool is_latest = image_is_delta(file) || !bitmap_test(reader->newer, row->slot);
        if (level > 0 && is_latest &&
            !take_upper(reader, row->slot, bytes + blocks * part->row_bytes, &is_sound))
            return no_memory(reader);
        blocks += level;
    }
    return is_sound && blocks == part->rows
               ? STATUS_OK
               : corrupt(reader, "an upper list leads nowhere", part->at);
}

static enum status read_upper(struct image_reader *reader, const struct image_file *file) {
    void *bytes;
    enum status status = read_part(reader, file, IMAGE_UPPER, &bytes);
    if (status == STATUS_OK)
        status = take_all_upper(reader, file, bytes);
    free(bytes);
    return status;
}

/* ---- The rest ---------------------------------------------------------------------------------
 */

/* Hangs a twin on its linked slot; false if that is not one. */
static bool take_twin(struct image_reader *reader, uint32_t slot, uint32_t of) {
    struct store *store = reader->store;
    if (of >= reader->slots || !bitmap_test(reader->linked, of) ||
        memcmp(store_code(store, slot), store_code(store, of), store->code_bytes) != 0)
        return false;
    hnsw_twins_add(reader->hnsw, of, slot);
    store_unclaim(store, slot, true);
    return true;
}

/* Twins, and slots that wait. */
static enum status take_unlinked(struct image_reader *reader) {
    for (uint32_t slot = 0; slot < reader->slots; slot++) {
        if (!bitmap_test(reader->present, slot) || bitmap_test(reader->linked, slot))
            continue;
        uint32_t of = atomic_load_explicit(&store_links(reader->store, slot)[HNSW_TWIN_LINKED],
                                           memory_order_relaxed);
        store_put(reader->store, slot, (uint8_t)image_level(reader, slot));
        if (bitmap_test(reader->twin, slot) && !take_twin(reader, slot, of))
            return corrupt(reader, "a twin of nothing", slot);
    }
    return STATUS_OK;
}

static enum status take_entry(struct image_reader *reader) {
    uint64_t linked = 0, twins = 0;
    for (size_t i = 0; i < bitmap_words(reader->slots); i++) {
        linked += (uint64_t)__builtin_popcountll(reader->linked[i]);
        twins += (uint64_t)__builtin_popcountll(reader->twin[i]);
    }
    uint32_t slot = hnsw_entry_slot(reader->entry);
    bool is_sound = reader->entry == HNSW_NO_ENTRY
                        ? linked == 0
                        : slot < reader->slots && bitmap_test(reader->linked, slot) &&
                              image_level(reader, slot) == hnsw_entry_level(reader->entry);
    if (!is_sound)
        return corrupt(reader, "its entry is no linked slot", 72);
    atomic_store_explicit(&reader->hnsw->entry, reader->entry, memory_order_release);
    atomic_store_explicit(&reader->hnsw->linked, linked + twins, memory_order_relaxed);
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) { /* measured when all are examined next */
        uint32_t seed = reader->seeds[i];
        if (seed < reader->slots && bitmap_test(reader->linked, seed) &&
            !hnsw_seeds_has(&reader->hnsw->seeds, seed))
            hnsw_seeds_add(&reader->hnsw->seeds, seed, 0);
    }
    return STATUS_OK;
}

/* What the whole image lacks is what the delta has. */
static void mark_changes(struct image_reader *reader) {
    struct store *store = reader->store;
    store_forget_changes(store, store_end(store));
    for (uint32_t slot = 0; slot < reader->slots; slot++) {
        if (bitmap_test(reader->newer, slot))
            store_mark_changed(store, slot);
        if (bitmap_test(reader->recoded, slot))
            bitmap_atomic_set(store_chunk(store, slot)->recoded, slot & (STORE_CHUNK - 1));
    }
    reader->image->base = reader->files[INDEX_IMAGE_WHOLE].sum;
}

/* Room for all slots, in the store and for bits. */
static enum status make_room(struct image_reader *reader) {
    size_t words = bitmap_words(reader->slots);
    reader->present = calloc(5 * words + 1, sizeof(uint64_t));
    if (!reader->present || !store_reserve(reader->store, reader->slots))
        return no_memory(reader);
    reader->linked = reader->present + words;
    reader->twin = reader->linked + words;
    reader->newer = reader->twin + words;
    reader->recoded = reader->newer + words;
    uint32_t edges_end = reader->files[INDEX_IMAGE_WHOLE].layout.parts[IMAGE_EDGES].rows;
    for (uint32_t first = 0; first < reader->slots; first += STORE_CHUNK) {
        uint32_t left = reader->slots - first, rows = left < STORE_CHUNK ? left : STORE_CHUNK;
        store_expect(reader->store, first / STORE_CHUNK, rows);
        if (first < edges_end)
            store_shorten(reader->store, first / STORE_CHUNK, rows);
    }
    return STATUS_OK;
}

/* What needs no codes and no links. */
static enum status read_what_slots_are(struct image_reader *reader) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < reader->files_count && status == STATUS_OK; i++)
        status = read_numbers(reader, &reader->files[i]);
    if (status == STATUS_OK)
        restore(reader);
    for (size_t i = 0; i < reader->files_count && status == STATUS_OK; i++)
        status = read_upper(reader, &reader->files[i]);
    return status;
}

static enum status load_files(struct image_reader *reader) {
    enum status status = make_room(reader);
    for (size_t i = 0; i < reader->files_count && status == STATUS_OK; i++)
        status = read_table(reader, &reader->files[i]);
    for (size_t i = 0; i < reader->files_count && status == STATUS_OK; i++)
        status = image_arrays_read(reader, &reader->files[i], i == 0 ? read_what_slots_are : NULL);
    if (status == STATUS_OK)
        status = take_unlinked(reader);
    return status == STATUS_OK ? take_entry(reader) : status;
}

/* Leaves the edges to image_read_edges; without memory for that they are written anew. */
static void leave_edges(struct image_reader *reader, struct image_rest *rest) {
    struct store *store = reader->store;
    struct image_file *whole = &reader->files[INDEX_IMAGE_WHOLE];
    const struct image_part *edges = &whole->layout.parts[IMAGE_EDGES];
    if (edges->rows == 0)
        return;
    *rest = (struct image_rest){.fd = fcntl(whole->fd, F_DUPFD_CLOEXEC, 0),
                                .sums = whole->sums,
                                .buffer = malloc(edges->piece_rows * edges->row_bytes + IMAGE_PAGE),
                                .layout = whole->layout,
                                .is_foreign = !whole->has_own_edges};
    whole->sums = NULL;
    if (rest->is_foreign)
        reader->image->base = 0; /* the next image is a whole one, with edges that serve here */
    for (uint32_t slot = 0; slot < edges->rows; slot += STORE_CHUNK)
        atomic_store(&store_chunk(store, slot)->unread, UINT32_MAX);
    atomic_store(&store->is_unread, true);
}

enum status image_load(struct image *image, const struct index_files *files,
                       struct image_rest *rest, struct error *error) {
    struct image_reader reader = {
        .image = image, .hnsw = image->hnsw, .store = image->hnsw->store, .error = error};
    assert(atomic_load(&image->hnsw->store->present_count) == 0);
    enum status status = read_header(&reader, INDEX_IMAGE_WHOLE, files->whole);
    if (status == STATUS_OK && files->delta >= 0)
        status = read_header(&reader, INDEX_IMAGE_DELTA, files->delta);
    if (status == STATUS_OK)
        status = load_files(&reader);
    if (status == STATUS_OK) {
        mark_changes(&reader);
        leave_edges(&reader, rest);
    }
    for (size_t i = 0; i < INDEX_IMAGE_KINDS; i++) {
        free(reader.files[i].sums);
        free(reader.files[i].rows);
    }
    free(reader.present);
    return status;
}
