/* Codes and links of an image: read by all cores, a piece at a time, its sum checked and, while it
 * is in the cache, where the links of its records lead. Reading into huge pages costs a core 0.2 s
 * a GB of the page cache, and unlike a map leaves nothing behind that a damaged disk could take
 * away.
 */
#include "index/edges.h"
#include "index/hnsw_links.h"
#include "index/image_load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    THREADS_MAX = 8,
    THREAD_PIECES = 16, /* fewer are not worth a thread */
};

struct check {
    const struct image_reader *reader;
    const struct image_file *file;
    uint32_t tasks; /* a piece each: of the codes, then of the links */
    atomic_uint_fast32_t next;
    atomic_bool has_failed, has_stale;
    pthread_mutex_t lock;   /* of those below */
    pthread_cond_t changed; /* prepared, or failed */
    bool is_prepared;
    enum status status; /* the first failure */
    struct error error;
};

/* ---- Records ----------------------------------------------------------------------------------
 */

static bool are_links_sound(const struct image_reader *reader, const uint32_t *links) {
    bool is_sound = true;
    for (uint32_t i = 0; i < reader->store->link_room; i++) {
        uint32_t to = hnsw_link_slot(links[i]);
        is_sound &=
            links[i] == SLOT_NONE || (to < reader->slots && bitmap_test(reader->linked, to));
    }
    return is_sound;
}

/* True if an edge of the image serves a place of the delta: from and to the codes it was made of.
 */
static bool has_edge(const struct image_reader *reader, uint32_t old_link, uint32_t link) {
    uint32_t to = hnsw_link_slot(link);
    return link == SLOT_NONE ||
           (hnsw_link_slot(old_link) == to && !bitmap_test(reader->recoded, to));
}

/* Marks in a record of a delta the places whose edges the image lacks, and takes what the image
 * knows of the others: one may have been stale when the delta was written, and its slope another
 * one's. `old` is what the image says of the slot. */
static void take_edges_of_image(const struct image_reader *reader, uint32_t slot, uint8_t *record,
                                const uint8_t *old) {
    const struct store *store = reader->store;
    const struct image_file *whole = &reader->files[INDEX_IMAGE_WHOLE];
    struct store_head *head = (struct store_head *)(void *)record;
    const struct store_head *old_head = (const struct store_head *)(const void *)old;
    const uint32_t *links = (const uint32_t *)(const void *)(record + store->links_at);
    const uint32_t *old_links = (const uint32_t *)(const void *)(old + store->links_at);
    bool was_linked = slot < whole->layout.rows && whole->rows[slot].kind == IMAGE_ROW_LINKED &&
                      !bitmap_test(reader->recoded, slot);
    for (uint32_t block = 0; block < store->edge_blocks; block++) {
        uint8_t power = atomic_load(&old_head->powers[block]); /* taken unseen */
        bool is_told = was_linked && power <= EDGES_POWER_MAX;
        uint32_t stale = is_told ? atomic_load(&old_head->stale[block]) : UINT32_MAX;
        for (uint32_t i = 0; i < STORE_BLOCK_PLACES; i++) {
            uint32_t place = block * STORE_BLOCK_PLACES + i;
            stale |= (uint32_t)!has_edge(reader, old_links[place], links[place]) << i;
        }
        atomic_store(&head->stale[block], stale);
        atomic_store(&head->powers[block], is_told ? power : 0);
    }
    memcpy(head->slopes, old_head->slopes, (size_t)store->edge_blocks * STORE_BLOCK_PLACES);
}

static bool is_head_sound(const struct image_reader *reader, uint32_t slot, const uint8_t *record) {
    const struct store_head *head = (const struct store_head *)(const void *)record;
    const struct code_meta *meta = store_meta(reader->store, slot); /* of which none is a NaN */
    bool is_sound = head->meta.scale == meta->scale && head->meta.length == meta->length;
    for (uint32_t block = 0; block < reader->store->edge_blocks; block++)
        is_sound &= atomic_load(&head->powers[block]) <= EDGES_POWER_MAX;
    return is_sound;
}

/* Takes heads and links of a piece's rows; false if a link leads nowhere. What a delta goes over is
 * taken unseen, to be compared with it. */
static bool take_links(struct check *check, const struct image_piece *piece, uint8_t *bytes) {
    const struct image_reader *reader = check->reader;
    const struct store *store = reader->store;
    uint32_t stale = 0;
    bool is_sound = true, is_delta = image_is_delta(check->file);
    for (uint32_t i = 0; i < piece->rows; i++, bytes += store->edges_at) {
        uint32_t slot = check->file->rows[piece->first_row + i].slot;
        uint8_t *record = store_record(store, slot);
        if (bitmap_test(reader->linked, slot) && (is_delta || !bitmap_test(reader->newer, slot))) {
            is_sound &=
                are_links_sound(reader, (const uint32_t *)(void *)(bytes + store->links_at));
            if (store->edge_blocks > 0) {
                is_sound &= is_head_sound(reader, slot, bytes);
                if (is_delta && is_sound)
                    take_edges_of_image(reader, slot, bytes, record);
            }
            for (uint32_t block = 0; block < store->edge_blocks; block++)
                stale |= atomic_load(&((struct store_head *)(void *)bytes)->stale[block]);
        }
        memcpy(record, bytes, store->edges_at);
    }
    if (stale != 0)
        atomic_store_explicit(&check->has_stale, true, memory_order_relaxed);
    return is_sound;
}

/* ---- Pieces -----------------------------------------------------------------------------------
 */

/* Codes of a delta go to where their slots are; those of a whole image are there. */
static void take_codes(const struct check *check, const struct image_piece *piece,
                       const uint8_t *bytes) {
    const struct store *store = check->reader->store;
    for (uint32_t i = 0; i < piece->rows && image_is_delta(check->file); i++)
        memcpy(store_code(store, check->file->rows[piece->first_row + i].slot),
               bytes + i * store->code_bytes, store->code_bytes);
}

static enum status check_piece(struct check *check, const struct image_part *part, uint32_t number,
                               uint8_t *buffer, struct error *error) {
    const struct image_piece piece = image_piece(part, number);
    bool is_codes = part == &check->file->layout.parts[IMAGE_CODES];
    uint8_t *bytes = is_codes && !image_is_delta(check->file)
                         ? store_code(check->reader->store, piece.first_row)
                         : buffer;
    enum status status = image_read_bytes(check->file->fd, piece.at, bytes, piece.bytes, error);
    if (status != STATUS_OK)
        return status;
    if (XXH3_64bits(bytes, piece.bytes) != check->file->sums[part->first_piece + number])
        return error_set(error, STATUS_CORRUPT, "graph image: wrong checksum (at byte %" PRIu64 ")",
                         piece.at);
    if (is_codes)
        take_codes(check, &piece, bytes);
    else if (!take_links(check, &piece, bytes))
        return error_set(error, STATUS_CORRUPT,
                         "graph image: links that lead nowhere (at byte %" PRIu64 ")", piece.at);
    return STATUS_OK;
}

static void fail(struct check *check, enum status status, const char *message) {
    pthread_mutex_lock(&check->lock);
    if (!atomic_exchange(&check->has_failed, true))
        check->status = error_set(&check->error, status, "%s", message);
    pthread_cond_broadcast(&check->changed);
    pthread_mutex_unlock(&check->lock);
}

/* What links are checked against is there from here on. */
static void end_preparation(struct check *check) {
    pthread_mutex_lock(&check->lock);
    check->is_prepared = true;
    pthread_cond_broadcast(&check->changed);
    pthread_mutex_unlock(&check->lock);
}

/* False if somebody failed. */
static bool wait_until_prepared(struct check *check) {
    pthread_mutex_lock(&check->lock);
    while (!check->is_prepared && !atomic_load(&check->has_failed))
        pthread_cond_wait(&check->changed, &check->lock);
    pthread_mutex_unlock(&check->lock);
    return !atomic_load(&check->has_failed);
}

static void *check_pieces(void *context) {
    struct check *check = context;
    const struct image_part *codes = &check->file->layout.parts[IMAGE_CODES];
    const struct image_part *links = &check->file->layout.parts[IMAGE_LINKS];
    uint64_t longest = codes->piece_rows * codes->row_bytes;
    if (longest < links->piece_rows * links->row_bytes)
        longest = links->piece_rows * links->row_bytes;
    uint8_t *buffer = malloc(longest + IMAGE_PAGE);
    struct error error;
    uint32_t task;
    if (!buffer) {
        fail(check, STATUS_NO_MEMORY, "out of memory for a graph");
        return NULL;
    }
    while (!atomic_load(&check->has_failed) &&
           (task = (uint32_t)atomic_fetch_add(&check->next, 1)) < check->tasks) {
        bool is_codes = task < codes->pieces;
        if (!is_codes && !wait_until_prepared(check))
            break;
        enum status status = check_piece(check, is_codes ? codes : links,
                                         is_codes ? task : task - codes->pieces, buffer, &error);
        if (status != STATUS_OK)
            fail(check, status, error.message);
    }
    free(buffer);
    return NULL;
}

enum status image_arrays_read(struct image_reader *reader, const struct image_file *file,
                              image_prepare_fn *prepare) {
    struct check check = {.reader = reader,
                          .file = file,
                          .tasks = file->layout.parts[IMAGE_CODES].pieces +
                                   file->layout.parts[IMAGE_LINKS].pieces,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER};
    pthread_t threads[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int others = 0;
    while (others + 1 < THREADS_MAX && others + 1 < cores &&
           (uint32_t)(others + 1) * THREAD_PIECES < check.tasks &&
           pthread_create(&threads[others], NULL, check_pieces, &check) == 0)
        others++; /* without a thread it takes longer */
    enum status status = prepare ? prepare(reader) : STATUS_OK;
    if (status != STATUS_OK)
        fail(&check, status, reader->error ? reader->error->message : "");
    end_preparation(&check);
    check_pieces(&check);
    while (others > 0)
        pthread_join(threads[--others], NULL);
    if (atomic_load(&check.has_stale))
        atomic_store(&reader->store->has_stale, true);
    if (check.status != STATUS_OK && reader->error)
        *reader->error = check.error;
    return check.status;
}
