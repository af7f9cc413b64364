#include "storage/point_match.h"
#include "storage/reader_internal.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <sched.h>
#include <time.h>

enum {
    SPINS_BEFORE_SLEEP = 64, /* while waiting for a commit to be published: microseconds */
    LONG_READ_NS = 1000000000,
};

/* ---- The registry of readers ------------------------------------------------------------------
 */

/* Takes a place and writes a lower bound into it before the snapshot is taken: whoever frees slots
 * either sees the bound, or looked before, and then the snapshot is newer than what it frees. */
static struct reader_place *take_place(struct collection *collection) {
    uint64_t published = atomic_load(&collection->published);
    for (unsigned i = 0; i < collection->places_count; i++) {
        struct reader_place *place = &collection->places[i];
        uint_fast64_t idle = READER_PLACE_IDLE;
        if (atomic_load_explicit(&place->operation, memory_order_relaxed) == idle &&
            atomic_compare_exchange_strong(&place->operation, &idle, published))
            return place;
    }
    return NULL;
}

/* ---- Begin and end ----------------------------------------------------------------------------
 */

enum status reader_check(const struct reader *reader, struct error *error) {
    const struct reader_options *options = &reader->options;
    if (options->cancelled && atomic_load_explicit(options->cancelled, memory_order_relaxed))
        return error_set(error, STATUS_CANCELLED, "the request was cancelled");
    if (options->deadline_ns > 0 && collection_now_ns() > options->deadline_ns)
        return error_set(error, STATUS_TIMEOUT, "Timeout of the request");
    return STATUS_OK;
}

enum status reader_step(struct reader *reader, size_t bytes, struct error *error) {
    reader->bytes_unchecked += bytes;
    if (++reader->rows_unchecked < READER_CHECK_ROWS &&
        reader->bytes_unchecked < READER_CHECK_BYTES)
        return STATUS_OK;
    reader->rows_unchecked = 0;
    reader->bytes_unchecked = 0;
    return reader_check(reader, error);
}

/* A snapshot can be ahead of memory between a commit and its publishing. Waiting keeps the promise
 * that what one request retrieved the next one finds. What stays in the file is always published,
 * so this ends. */
static enum status wait_until_published(struct reader *reader, struct error *error) {
    for (unsigned spins = 0; atomic_load_explicit(&reader->collection->published,
                                                  memory_order_acquire) < reader->state.operation;
         spins++) {
        if (spins < SPINS_BEFORE_SLEEP) {
            sched_yield();
            continue;
        }
        enum status status = reader_check(reader, error);
        if (status != STATUS_OK)
            return status;
        const struct timespec pause = {.tv_nsec = 50000};
        nanosleep(&pause, NULL);
    }
    return STATUS_OK;
}

static enum status begin_snapshot(struct reader *reader, struct error *error) {
    struct collection *collection = reader->collection;
    bool is_found;
    enum status status = lmdb_env_read_begin(&collection->env, reader->options.deadline_ns,
                                             &reader->rows.txn, error);
    if (status != STATUS_OK)
        return status;
    reader->rows.dbis = collection->env.dbis;
    status = point_rows_read_state(&reader->rows, &reader->state, &is_found, error);
    if (status == STATUS_OK && !is_found)
        status = error_set(error, STATUS_CORRUPT, "Stored data is corrupt: no state");
    return status == STATUS_OK ? wait_until_published(reader, error) : status;
}

enum status reader_begin(struct collection *collection, const struct reader_options *options,
                         struct reader **begun, struct error *error) {
    assert(thread_role_get() != THREAD_ROLE_LOOP && thread_role_get() != THREAD_ROLE_WRITER);
    struct reader *reader = arena_alloc(options->arena, sizeof(*reader));
    if (!reader)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    *reader = (struct reader){.collection = collection_acquire(collection), .options = *options};
    atomic_fetch_add(&collection->storage->active_readers, 1);
    pthread_mutex_lock(&collection->config_mutex);
    reader->config = collection_config_acquire(collection->config);
    pthread_mutex_unlock(&collection->config_mutex);
    reader->place = take_place(collection);
    enum status status = reader->place
                             ? begin_snapshot(reader, error)
                             : error_set(error, STATUS_UNAVAILABLE, "too many readers at once");
    if (status != STATUS_OK) {
        reader_end(reader);
        return status;
    }
    atomic_store_explicit(&reader->place->since_ns, collection_now_ns(), memory_order_relaxed);
    *begun = reader;
    return STATUS_OK;
}

void reader_end(struct reader *reader) {
    if (!reader)
        return;
    struct collection *collection = reader->collection;
    place_cache_give(&collection->caches, reader->cache);
    if (reader->rows.txn)
        lmdb_env_read_end(&collection->env, reader->rows.txn);
    if (reader->place) {
        uint64_t now = collection_now_ns();
        uint64_t since = atomic_load_explicit(&reader->place->since_ns, memory_order_relaxed);
        if (since > 0 && now - since > LONG_READ_NS)
            atomic_fetch_add(&collection->storage->readers_over_1s, 1);
        atomic_store_explicit(&collection->storage->read_ns, now, memory_order_relaxed);
        atomic_store_explicit(&reader->place->since_ns, 0, memory_order_relaxed);
        atomic_store(&reader->place->operation, READER_PLACE_IDLE);
    }
    collection_config_release(reader->config);
    atomic_fetch_sub(&collection->storage->active_readers, 1);
    collection_release(collection);
}

void reader_enter_stage(const struct reader *reader, enum stage stage) {
    stage_clock_enter(reader->options.stages, stage);
}

const struct collection_config *reader_config(const struct reader *reader) {
    return &reader->config->config;
}

/* ---- Points -----------------------------------------------------------------------------------
 */

struct point_row reader_point_row(const struct stored_row *row) {
    return (struct point_row){.id = row->id,
                              .version = row->version,
                              .slot = row->slot,
                              .payload = row->payload,
                              .payload_length = row->payload_length};
}

enum status reader_point(struct reader *reader, const struct point_id *id, struct point_row *row,
                         struct error *error) {
    struct stored_row stored;
    bool is_found;
    enum status status = point_rows_get_by_id(&reader->rows, id, &stored, &is_found, error);
    if (status != STATUS_OK)
        return status;
    if (!is_found)
        return STATUS_NOT_FOUND;
    *row = reader_point_row(&stored);
    return STATUS_OK;
}

struct place_cache *reader_cache(struct reader *reader) {
    struct collection *collection = reader->collection;
    if (reader->cache)
        return reader->cache;
    const struct place_cache_source source = {.snapshot = mdb_txn_id(reader->rows.txn),
                                              .map = collection->env.map_moves};
    uint64_t records[PLACE_TABLES] = {[PLACE_ROWS] = reader->state.next_slot};
    for (size_t i = 0; i < collection->vectors_count; i++)
        records[PLACE_BLOCKS] +=
            reader->state.next_slot / collection->vectors[i].layout.capacity + 1;
    reader->cache = place_cache_take(&collection->caches, &source, records);
    return reader->cache;
}

enum status reader_read_vector(struct reader *reader, const struct collection_vector *vector,
                               const struct stored_row *row, const float **values,
                               struct error *error) {
    return vector_blocks_read(reader->rows.txn, reader->rows.dbis[COLLECTION_DBI_VECTORS],
                              &vector->layout, row->slot, row->born, reader_cache(reader), values,
                              error);
}

static enum status find_vector(struct reader *reader, const struct point_row *row,
                               const struct vector_config *config, const float **values) {
    const struct collection_vector *vector =
        collection_vector_of(reader->collection, config->number);
    struct stored_row stored = {0};
    enum status status = point_rows_get_live(&reader->rows, row->slot, &stored, NULL);
    if (status == STATUS_OK && !vector)
        return STATUS_CORRUPT; /* the snapshot gave us this row, with this configuration */
    if (status != STATUS_OK || !row_keys_row_has_vector(&stored, config->number))
        return status;
    return reader_read_vector(reader, vector, &stored, values, NULL);
}

const float *reader_vector(struct reader *reader, const struct point_row *row,
                           const struct vector_config *vector) {
    const float *values = NULL;
    enum status status = find_vector(reader, row, vector, &values);
    if (status != STATUS_OK && reader->failure == STATUS_OK)
        reader->failure = status;
    return status == STATUS_OK ? values : NULL;
}

enum status reader_failure(const struct reader *reader, struct error *error) {
    if (reader->failure == STATUS_OK)
        return STATUS_OK;
    return error_set(error, reader->failure, "Stored data is corrupt: a vector");
}

/* ---- Filters ----------------------------------------------------------------------------------
 */

static enum status slot_of(void *context, const struct point_id *id, uint32_t *slot,
                           struct error *error) {
    struct reader *reader = context;
    bool is_found;
    enum status status = point_rows_find(&reader->rows, id, slot, &is_found, error);
    if (status == STATUS_OK && !is_found)
        *slot = SLOT_NONE;
    return status;
}

static enum status load_fields(struct reader *reader, struct error *error) {
    if (reader->has_fields)
        return STATUS_OK;
    enum status status =
        field_table_load(&reader->fields, &reader->rows, reader->options.arena, error);
    reader->has_fields = status == STATUS_OK;
    return status;
}

enum status reader_plan(struct reader *reader, const struct filter *filter, uint32_t verifications,
                        struct filter_plan *plan, struct error *error) {
    enum status status = load_fields(reader, error);
    if (status != STATUS_OK)
        return status;
    const struct plan_source source = {
        .txn = reader->rows.txn,
        .postings = reader->rows.dbis[COLLECTION_DBI_POSTINGS],
        .fields = reader->fields.fields,
        .fields_count = reader->fields.ready_count,
        .slot_end = reader->state.next_slot,
        .slot_of = slot_of,
        .context = reader,
        .verifications = verifications,
        .deadline_ns = reader->options.deadline_ns,
        .cancelled = reader->options.cancelled,
        .arena = reader->options.arena,
    };
    return filter_plan_create(filter, &source, plan, error);
}

enum status reader_match(struct reader *reader, const struct filter *filter, bool is_exact,
                         uint32_t slot, struct stored_row *row, bool *matches,
                         struct error *error) {
    enum status status = point_rows_get_live(&reader->rows, slot, row, error);
    *matches = status == STATUS_OK &&
               (is_exact || !filter || point_match_row(filter, row, &reader->config->config));
    return status;
}

/* ---- Counting ---------------------------------------------------------------------------------
 */

enum status reader_count(struct reader *reader, const struct filter *filter, uint64_t *count,
                         struct error *error) {
    *count = reader->state.points;
    if (!filter)
        return STATUS_OK;
    struct filter_plan plan;
    enum status status = reader_plan(reader, filter, 0, &plan, error);
    if (status != STATUS_OK)
        return status;
    *count = plan.count;
    if (plan.is_exact)
        return STATUS_OK;
    uint64_t matching = 0;
    for (size_t word = 0; word < ((size_t)plan.slot_end + 63) / 64; word++)
        for (uint64_t bits = plan.words[word]; bits != 0; bits &= bits - 1) {
            struct stored_row row;
            bool matches;
            uint32_t slot = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits);
            status = reader_match(reader, filter, false, slot, &row, &matches, error);
            if (status == STATUS_OK)
                status = reader_step(reader, 0, error);
            if (status != STATUS_OK)
                return status;
            matching += matches;
        }
    *count = matching;
    return STATUS_OK;
}

/* ---- Indexes ----------------------------------------------------------------------------------
 */

enum status reader_payload_indexes(struct reader *reader,
                                   const struct payload_index_status **indexes, size_t *count,
                                   struct error *error) {
    enum status status = load_fields(reader, error);
    if (status != STATUS_OK)
        return status;
    size_t total = reader->fields.count;
    struct payload_index_status *list =
        arena_alloc(reader->options.arena, (total + 1) * sizeof(*list));
    if (!list)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < total && status == STATUS_OK; i++) {
        list[i].field = reader->fields.fields[i];
        status = payload_index_count(reader->rows.txn, reader->rows.dbis[COLLECTION_DBI_POSTINGS],
                                     list[i].field.number, &list[i].points, error);
    }
    *indexes = list;
    *count = total;
    return status;
}
