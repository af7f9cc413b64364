/* Filling an index from an image. Nothing in it is believed: lengths are checked before they are
 * used, sums before the content, and each number against its range; all of that before the first
 * search, so that no search ever needs to look twice.
 *
 * Codes and links are read by all cores, a piece at a time: its sum, and while it is in the cache
 * the links of its records. Reading into huge pages costs a core 0.2 s a GB of the page cache, and
 * unlike a map leaves nothing behind that a damaged disk could take away. */
#include "index/hnsw_links.h"
#include "index/image.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    THREADS_MAX = 8,
    THREAD_PIECES = 16, /* fewer are not worth a thread */
};

struct reader {
    struct image *image;
    struct hnsw *hnsw;
    struct store *store;
    int fd;
    struct image_layout layout;
    uint64_t entry, table_sum;
    uint64_t *sums;
    uint64_t *present, *linked, *twin; /* bit per slot, whole chunks */
    struct error *error;
};

static enum status corrupt(struct reader *reader, const char *what, uint64_t at) {
    return error_set(reader->error, STATUS_CORRUPT, "graph image: %s (at byte %" PRIu64 ")", what,
                     at);
}

static enum status no_memory(struct reader *reader) {
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

/* The numbers of a header whose sum is right. */
static enum status take_header(struct reader *reader, const uint8_t *header) {
    uint8_t expected[IMAGE_PAGE];
    uint32_t ef = get_u32(header + 88);
    image_fill_header(reader->image, expected);
    if (memcmp(header, expected, 56) != 0)
        return corrupt(reader, "of another version, dimension, distance, m or profile", 0);
    if (get_u32(header + 56) > SLOT_MAX)
        return corrupt(reader, "names too many slots", 56);
    if (ef == 0 || ef > VECTOR_INDEX_EF_MAX)
        return corrupt(reader, "a default ef out of range", 88);
    image_layout_init(&reader->layout, reader->hnsw, get_u32(header + 56), get_u32(header + 60));
    reader->entry = get_u64(header + 64);
    reader->table_sum = get_u64(header + 96);
    reader->image->stamp = (struct index_stamp){.operation = get_u64(header + 72),
                                                .incarnation = get_u64(header + 80)};
    atomic_store_explicit(&reader->hnsw->default_ef, ef, memory_order_relaxed);
    atomic_store_explicit(&reader->hnsw->scored_per_ef, get_u32(header + 92), memory_order_relaxed);
    return STATUS_OK;
}

static enum status read_header(struct reader *reader) {
    uint8_t header[IMAGE_PAGE];
    struct stat info;
    if (fstat(reader->fd, &info) < 0 || !S_ISREG(info.st_mode))
        return error_set(reader->error, STATUS_IO, "graph image: not a file");
    uint64_t length = (uint64_t)info.st_size;
    if (length < IMAGE_PAGE)
        return corrupt(reader, "shorter than its header", length);
    enum status status = image_read_bytes(reader->fd, 0, header, IMAGE_PAGE, reader->error);
    if (status == STATUS_OK && get_u64(header + IMAGE_SUM_AT) != XXH3_64bits(header, IMAGE_SUM_AT))
        return corrupt(reader, "wrong checksum of the header", 0);
    if (status == STATUS_OK)
        status = take_header(reader, header);
    if (status == STATUS_OK && length != reader->layout.file_bytes)
        return corrupt(reader, "not as long as its header says", length);
    return status;
}

static enum status read_table(struct reader *reader) {
    uint64_t length = image_part(&reader->layout, IMAGE_CODES, 0).at - IMAGE_PAGE;
    size_t words = (size_t)reader->layout.chunks * STORE_CHUNK_WORDS;
    reader->sums = malloc(length + 1);
    reader->present = calloc(3 * words + 1, sizeof(uint64_t));
    if (!reader->sums || !reader->present)
        return no_memory(reader);
    reader->linked = reader->present + words;
    reader->twin = reader->linked + words;
    enum status status =
        image_read_bytes(reader->fd, IMAGE_PAGE, reader->sums, length, reader->error);
    if (status == STATUS_OK && reader->table_sum != XXH3_64bits(reader->sums, length))
        return corrupt(reader, "wrong checksum of the table of sums", IMAGE_PAGE);
    return status;
}

/* Reads a part that is no array of the store; *bytes is the caller's to free, also on failure. */
static enum status read_part(struct reader *reader, const struct image_part *part,
                             uint8_t **bytes) {
    *bytes = malloc(part->bytes + 1);
    if (!*bytes)
        return no_memory(reader);
    enum status status = image_read_bytes(reader->fd, part->at, *bytes, part->bytes, reader->error);
    for (uint32_t i = 0; i < part->pieces && status == STATUS_OK; i++) {
        const struct image_piece piece = image_piece(part, i);
        if (XXH3_64bits(*bytes + (piece.at - part->at), piece.bytes) !=
            reader->sums[part->first_piece + i])
            return corrupt(reader, "wrong checksum", piece.at);
    }
    return status;
}

/* ---- Numbers ----------------------------------------------------------------------------------
 */

/* A slot is linked or a twin only if it is present, and not both; none lies beyond `rows`. */
static bool are_bits_sound(const struct reader *reader, size_t first_word, uint32_t rows) {
    for (uint32_t i = 0; i < STORE_CHUNK_WORDS; i++) {
        uint64_t present = reader->present[first_word + i];
        uint64_t linked = reader->linked[first_word + i], twin = reader->twin[first_word + i];
        uint32_t start = i * BITMAP_WORD_BITS;
        uint64_t within = rows >= start + BITMAP_WORD_BITS ? UINT64_MAX
                          : rows > start                   ? (UINT64_C(1) << (rows - start)) - 1
                                                           : 0;
        if ((linked & twin) || ((linked | twin) & ~present) || (present & ~within))
            return false;
    }
    return true;
}

static bool is_number(float value) {
    return value >= 0; /* false for NaN; errors may be infinite */
}

static bool are_numbers_sound(const struct code_meta *metas, const float *errors, uint32_t rows) {
    bool is_sound = true;
    for (uint32_t i = 0; i < rows; i++)
        is_sound &= is_number(metas[i].scale) && is_number(metas[i].length) &&
                    is_number(errors[i]) && !isinf(metas[i].scale) && !isinf(metas[i].length);
    return is_sound;
}

/* Takes the marks of seeds off the levels; false if a level is out of range. */
static bool take_levels(struct reader *reader, uint32_t chunk, uint8_t *levels, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++) {
        if (levels[i] & IMAGE_SEED) /* measured when all are examined next */
            hnsw_seeds_add(&reader->hnsw->seeds, chunk * (uint32_t)STORE_CHUNK + i, 0);
        levels[i] &= (uint8_t)~IMAGE_SEED;
        if (levels[i] > UPPER_LEVEL_MAX)
            return false;
    }
    return true;
}

static enum status take_numbers(struct reader *reader, uint32_t chunk, uint8_t *bytes,
                                const struct image_part *part) {
    uint32_t rows = image_part(&reader->layout, IMAGE_CODES, chunk).rows;
    const struct image_numbers at = image_numbers(rows);
    struct store_chunk *to = &reader->store->chunks[chunk];
    size_t word = (size_t)chunk * STORE_CHUNK_WORDS, size = STORE_CHUNK_WORDS * sizeof(uint64_t);
    memcpy(reader->present + word, bytes + at.present, size);
    memcpy(reader->linked + word, bytes + at.linked, size);
    memcpy(reader->twin + word, bytes + at.twin, size);
    memcpy(to->metas, bytes + at.metas, rows * sizeof(to->metas[0]));
    memcpy(to->errors, bytes + at.errors, rows * sizeof(to->errors[0]));
    if (!are_bits_sound(reader, word, rows))
        return corrupt(reader, "the bits of a chunk contradict each other", part->at);
    if (!are_numbers_sound(to->metas, to->errors, rows))
        return corrupt(reader, "a slot has a number out of range", part->at + at.metas);
    if (!take_levels(reader, chunk, bytes + at.levels, rows))
        return corrupt(reader, "a slot has too high a level", part->at + at.levels);
    store_restore(reader->store, chunk, reader->linked + word, bytes + at.levels);
    /* Of slots that are not linked store_put sets the level, once their records are there. */
    for (uint32_t i = 0; i < rows; i++)
        if (!bitmap_test(reader->linked, chunk * (size_t)STORE_CHUNK + i))
            atomic_store_explicit(&to->nodes[i].level, bytes[at.levels + i], memory_order_relaxed);
    return STATUS_OK;
}

static enum status read_numbers(struct reader *reader, uint32_t chunk) {
    const struct image_part numbers = image_part(&reader->layout, IMAGE_NUMBERS, chunk);
    uint8_t *bytes;
    enum status status = read_part(reader, &numbers, &bytes);
    if (status == STATUS_OK)
        status = take_numbers(reader, chunk, bytes, &numbers);
    free(bytes);
    return status;
}

/* ---- Codes and records ------------------------------------------------------------------------
 */

/* Of the chunks, the parts that are read by all cores. */
static const enum image_part_kind shared[] = {IMAGE_CODES, IMAGE_LINKS};

enum {
    SHARED = sizeof(shared) / sizeof(shared[0])
};

struct check {
    const struct reader *reader;
    uint32_t chunk_pieces; /* of the shared parts of a full chunk */
    uint64_t tasks;        /* a piece each */
    atomic_uint_fast64_t next;
    atomic_bool has_failed, has_stale;
    pthread_mutex_t lock; /* of the two below */
    enum status status;   /* the first failure */
    struct error error;
};

static bool leads_somewhere(const struct reader *reader, uint32_t link) {
    uint32_t to = hnsw_link_slot(link);
    return link == SLOT_NONE || (to < reader->layout.slots && bitmap_test(reader->linked, to));
}

/* Takes heads and links of linked slots; false if a link leads nowhere. */
static bool take_links(struct check *check, uint32_t first, uint32_t rows, const uint8_t *bytes) {
    const struct reader *reader = check->reader;
    const struct store *store = reader->store;
    uint32_t stale = 0;
    bool is_sound = true;
    for (uint32_t slot = first; slot < first + rows; slot++, bytes += store->edges_at) {
        memcpy(store_record(store, slot), bytes, store->edges_at);
        if (!bitmap_test(reader->linked, slot))
            continue;
        const _Atomic uint32_t *links = store_links(store, slot);
        for (uint32_t i = 0; i < store->link_room; i++)
            is_sound &=
                leads_somewhere(reader, atomic_load_explicit(&links[i], memory_order_relaxed));
        if (store->edge_blocks == 0)
            continue;
        const struct store_head *head = store_head(store, slot);
        const struct code_meta *meta = store_meta(store, slot); /* of which no number is a NaN */
        is_sound &= head->meta.scale == meta->scale && head->meta.length == meta->length;
        for (uint32_t i = 0; i < store->edge_blocks; i++)
            stale |= atomic_load_explicit(&head->stale[i], memory_order_relaxed);
    }
    if (stale != 0)
        atomic_store_explicit(&check->has_stale, true, memory_order_relaxed);
    return is_sound;
}

static enum status check_piece(struct check *check, uint32_t chunk, enum image_part_kind kind,
                               uint32_t number, uint8_t *buffer, struct error *error) {
    const struct reader *reader = check->reader;
    const struct image_part part = image_part(&reader->layout, kind, chunk);
    if (number >= part.pieces) /* the last chunk has fewer */
        return STATUS_OK;
    const struct image_piece piece = image_piece(&part, number);
    uint32_t first = chunk * (uint32_t)STORE_CHUNK + piece.first_row;
    uint8_t *bytes = kind == IMAGE_CODES ? store_code(reader->store, first) : buffer;
    enum status status = image_read_bytes(reader->fd, piece.at, bytes, piece.bytes, error);
    if (status == STATUS_OK &&
        XXH3_64bits(bytes, piece.bytes) != reader->sums[part.first_piece + number])
        return error_set(error, STATUS_CORRUPT, "graph image: wrong checksum (at byte %" PRIu64 ")",
                         piece.at);
    if (status == STATUS_OK && kind == IMAGE_LINKS && !take_links(check, first, piece.rows, bytes))
        return error_set(error, STATUS_CORRUPT,
                         "graph image: links that lead nowhere (at byte %" PRIu64 ")", piece.at);
    return status;
}

/* The task's piece, counted over the shared parts of all chunks. */
static enum status run_task(struct check *check, uint64_t task, uint8_t *buffer,
                            struct error *error) {
    uint32_t chunk = (uint32_t)(task / check->chunk_pieces);
    uint32_t number = (uint32_t)(task % check->chunk_pieces);
    size_t i = 0;
    for (; i + 1 < SHARED; i++) { /* the first chunk has as many pieces as any */
        uint32_t pieces = image_part(&check->reader->layout, shared[i], 0).pieces;
        if (number < pieces)
            break;
        number -= pieces;
    }
    return check_piece(check, chunk, shared[i], number, buffer, error);
}

static void fail(struct check *check, enum status status, const char *message) {
    pthread_mutex_lock(&check->lock);
    if (!atomic_exchange(&check->has_failed, true))
        check->status = error_set(&check->error, status, "%s", message);
    pthread_mutex_unlock(&check->lock);
}

static void *check_pieces(void *context) {
    struct check *check = context;
    const struct image_part links = image_part(&check->reader->layout, IMAGE_LINKS, 0);
    uint8_t *buffer = malloc(links.piece_rows * links.row_bytes + IMAGE_PAGE);
    struct error error;
    uint64_t task;
    if (!buffer)
        fail(check, STATUS_NO_MEMORY, "out of memory for a graph");
    while (!atomic_load(&check->has_failed) &&
           (task = atomic_fetch_add(&check->next, 1)) < check->tasks) {
        enum status status = run_task(check, task, buffer, &error);
        if (status != STATUS_OK)
            fail(check, status, error.message);
    }
    free(buffer);
    return NULL;
}

static enum status check_arrays(struct reader *reader) {
    struct check check = {.reader = reader, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int others = 0;
    for (size_t i = 0; i < SHARED && reader->layout.chunks > 0; i++)
        check.chunk_pieces += image_part(&reader->layout, shared[i], 0).pieces;
    check.tasks = (uint64_t)reader->layout.chunks * check.chunk_pieces;
    while (others + 1 < THREADS_MAX && others + 1 < cores &&
           (uint64_t)(others + 1) * THREAD_PIECES < check.tasks &&
           pthread_create(&threads[others], NULL, check_pieces, &check) == 0)
        others++; /* without a thread it takes longer */
    check_pieces(&check);
    while (others > 0)
        pthread_join(threads[--others], NULL);
    if (atomic_load(&check.has_stale))
        atomic_store(&reader->store->has_stale, true);
    if (check.status != STATUS_OK && reader->error)
        *reader->error = check.error;
    return check.status;
}

/* ---- Upper lists ------------------------------------------------------------------------------
 */

static uint32_t level_of(const struct reader *reader, uint32_t slot) {
    return atomic_load_explicit(&store_node(reader->store, slot)->level, memory_order_relaxed);
}

/* The lists of one slot; false if memory ends, *is_sound false if a link leads nowhere. */
static bool take_upper(struct reader *reader, uint32_t slot, const uint8_t *bytes, bool *is_sound) {
    struct hnsw *hnsw = reader->hnsw;
    struct store_node *node = store_node(reader->store, slot);
    uint32_t level = level_of(reader, slot), block;
    if (!upper_links_allocate(&hnsw->upper, level, &block))
        return false;
    atomic_store_explicit(&node->upper, block, memory_order_relaxed);
    atomic_store_explicit(&node->level_limit, (uint8_t)level, memory_order_relaxed);
    for (uint32_t at = 1; at <= level; at++) {
        for (uint32_t i = 0; i < hnsw->m; i++, bytes += sizeof(uint32_t)) {
            uint32_t to = get_u32(bytes);
            *is_sound &=
                to == SLOT_NONE || (to < reader->layout.slots && /* a slot, no flags */
                                    bitmap_test(reader->linked, to) && level_of(reader, to) >= at);
            hnsw_link_store(hnsw_list(hnsw, slot, at), i, to);
        }
    }
    return true;
}

static enum status take_all_upper(struct reader *reader, const struct image_part *part,
                                  const uint8_t *bytes) {
    uint64_t blocks = 0;
    bool is_sound = true;
    for (uint32_t slot = 0; slot < reader->layout.slots; slot++) {
        uint32_t level = bitmap_test(reader->linked, slot) ? level_of(reader, slot) : 0;
        if (level == 0)
            continue;
        if (blocks + level > part->rows)
            return corrupt(reader, "lacks upper lists", part->at);
        if (!take_upper(reader, slot, bytes + blocks * part->row_bytes, &is_sound))
            return no_memory(reader);
        blocks += level;
    }
    return is_sound && blocks == part->rows
               ? STATUS_OK
               : corrupt(reader, "an upper list leads nowhere", part->at);
}

static enum status read_upper(struct reader *reader) {
    const struct image_part part = image_part(&reader->layout, IMAGE_UPPER, 0);
    uint8_t *bytes;
    enum status status = read_part(reader, &part, &bytes);
    if (status == STATUS_OK)
        status = take_all_upper(reader, &part, bytes);
    free(bytes);
    return status;
}

/* ---- The rest ---------------------------------------------------------------------------------
 */

/* Hangs a twin on its linked slot; false if that is not one. */
static bool take_twin(struct reader *reader, uint32_t slot, uint32_t of) {
    struct store *store = reader->store;
    if (of >= reader->layout.slots || !bitmap_test(reader->linked, of) ||
        memcmp(store_code(store, slot), store_code(store, of), store->code_bytes) != 0)
        return false;
    hnsw_twins_add(reader->hnsw, of, slot);
    store_unclaim(store, slot, true);
    return true;
}

/* Twins, and slots that wait. */
static enum status take_unlinked(struct reader *reader) {
    for (uint32_t slot = 0; slot < reader->layout.slots; slot++) {
        if (!bitmap_test(reader->present, slot) || bitmap_test(reader->linked, slot))
            continue;
        uint32_t of = atomic_load_explicit(&store_links(reader->store, slot)[HNSW_TWIN_LINKED],
                                           memory_order_relaxed);
        store_put(reader->store, slot, (uint8_t)level_of(reader, slot));
        if (bitmap_test(reader->twin, slot) && !take_twin(reader, slot, of))
            return corrupt(reader, "a twin of nothing", slot);
    }
    return STATUS_OK;
}

static enum status take_entry(struct reader *reader) {
    uint64_t linked = 0, twins = 0;
    for (size_t i = 0; i < (size_t)reader->layout.chunks * STORE_CHUNK_WORDS; i++) {
        linked += (uint64_t)__builtin_popcountll(reader->linked[i]);
        twins += (uint64_t)__builtin_popcountll(reader->twin[i]);
    }
    uint32_t slot = hnsw_entry_slot(reader->entry);
    bool is_sound = reader->entry == HNSW_NO_ENTRY
                        ? linked == 0
                        : slot < reader->layout.slots && bitmap_test(reader->linked, slot) &&
                              level_of(reader, slot) == hnsw_entry_level(reader->entry);
    if (!is_sound)
        return corrupt(reader, "its entry is no linked slot", 64);
    atomic_store_explicit(&reader->hnsw->entry, reader->entry, memory_order_release);
    atomic_store_explicit(&reader->hnsw->linked, linked + twins, memory_order_relaxed);
    hnsw_seeds_drop_unlinked(reader->hnsw);
    return STATUS_OK;
}

static enum status load_all(struct reader *reader) {
    enum status status = read_header(reader);
    if (status == STATUS_OK)
        status = read_table(reader);
    if (status == STATUS_OK && !store_reserve(reader->store, reader->layout.slots))
        status = no_memory(reader);
    for (uint32_t chunk = 0; chunk < reader->layout.chunks && status == STATUS_OK; chunk++) {
        store_expect(reader->store, chunk, image_part(&reader->layout, IMAGE_CODES, chunk).rows);
        status = read_numbers(reader, chunk);
    }
    if (status == STATUS_OK)
        status = check_arrays(reader);
    if (status == STATUS_OK)
        status = read_upper(reader);
    if (status == STATUS_OK)
        status = take_unlinked(reader);
    return status == STATUS_OK ? take_entry(reader) : status;
}

/* Leaves the edges to image_read_edges; without memory for that they are written anew. */
static void leave_edges(struct reader *reader, struct image_rest *rest) {
    struct store *store = reader->store;
    if (store->edge_blocks == 0 || reader->layout.chunks == 0)
        return;
    const struct image_part edges = image_part(&reader->layout, IMAGE_EDGES, 0);
    *rest = (struct image_rest){.fd = fcntl(reader->fd, F_DUPFD_CLOEXEC, 0),
                                .sums = reader->sums,
                                .buffer = malloc(edges.piece_rows * edges.row_bytes + IMAGE_PAGE),
                                .layout = reader->layout};
    reader->sums = NULL;
    for (uint32_t chunk = 0; chunk < reader->layout.chunks; chunk++)
        atomic_store(&store->chunks[chunk].unread, UINT32_MAX);
    atomic_store(&store->is_unread, true);
}

enum status image_load(struct image *image, int fd, struct image_rest *rest, struct error *error) {
    struct reader reader = {
        .image = image, .hnsw = image->hnsw, .store = image->hnsw->store, .fd = fd, .error = error};
    assert(atomic_load(&image->hnsw->store->present_count) == 0);
    enum status status = load_all(&reader);
    if (status == STATUS_OK)
        leave_edges(&reader, rest);
    free(reader.sums);
    free(reader.present);
    return status;
}
