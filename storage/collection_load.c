/* collection_load.c -- from the folder to memory when a collection is opened.
 *
 * Rows say which slots live; slots.bin does as well, in less time, if it is as of now. A graph
 * file, if it fits, saves encoding and linking; what it does not cover is put into the index and
 * linked by builders, while searches scan it (invariant 3). A slot that the graph knows and no row
 * names is marked as dead and left to the builders to repair; only those that were born again since
 * must be repaired here: before they can be put, or, where the new life has no such vector, before
 * a search can propose them as alive. A repair passes over the whole graph, so they are collected.
 */
#include "storage/collection_internal.h"
#include "storage/field_table.h"
#include "storage/slot_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    LOAD_ARENA_MAX = 1 << 24, /* for the payload indexes: far more than field_table_load takes */
    LOAD_REUSED_FIRST = 256,
    LOAD_REUSED_MAX = 1 << 16, /* slots repaired in one pass: 1.3 MB to remember them */
};

/* A slot that lived when the graph file was written, and lives again with another vector. */
struct reused_life {
    uint64_t born; /* 0: it lives without this vector, and only leaves the graph */
    uint64_t key;
};

/* Those of one vector. */
struct reused {
    uint32_t *slots; /* malloc'ed, as are lives */
    struct reused_life *lives;
    size_t count, capacity;
};

struct load {
    struct collection *collection;
    struct point_rows rows;
    struct index_scratch *scratch;
    const uint64_t *operations; /* what each graph file covers */
    struct reused *reused;      /* of each vector: wait to be repaired, and put; malloc'ed */
    uint64_t points;
};

static enum status put_vector(struct load *load, size_t ordinal, uint32_t slot,
                              const struct reused_life *life, struct error *error) {
    struct collection_vector *vector = &load->collection->vectors[ordinal];
    const float *values;
    enum status status =
        vector_blocks_read(load->rows.txn, load->rows.dbis[COLLECTION_DBI_VECTORS], &vector->layout,
                           slot, life->born, NULL, &values, error);
    if (status == STATUS_OK)
        vector_index_put(vector->index, slot, values, life->key);
    return status;
}

/* ---- Slots that were used again ---------------------------------------------------------------
 */

/* Takes the old lives of all that were collected out of the graph, and puts the new ones. */
static enum status put_reused(struct load *load, size_t ordinal, struct error *error) {
    struct reused *reused = &load->reused[ordinal];
    struct vector_index *index = load->collection->vectors[ordinal].index;
    if (reused->count == 0)
        return STATUS_OK;
    enum status status =
        vector_index_repair(index, reused->slots, reused->count, load->scratch, error);
    if (status == STATUS_OK)
        vector_index_epoch_advance(index);
    for (size_t i = 0; i < reused->count && status == STATUS_OK; i++)
        if (reused->lives[i].born > 0)
            status = put_vector(load, ordinal, reused->slots[i], &reused->lives[i], error);
    reused->count = 0;
    return status;
}

static bool grow_reused(struct reused *reused) {
    size_t capacity = reused->capacity > 0 ? 2 * reused->capacity : LOAD_REUSED_FIRST;
    uint32_t *slots = realloc(reused->slots, capacity * sizeof(*slots));
    if (!slots)
        return false;
    reused->slots = slots;
    struct reused_life *lives = realloc(reused->lives, capacity * sizeof(*lives));
    if (!lives)
        return false;
    reused->lives = lives;
    reused->capacity = capacity;
    return true;
}

static enum status add_reused(struct load *load, size_t ordinal, uint32_t slot,
                              const struct reused_life *life, struct error *error) {
    struct reused *reused = &load->reused[ordinal];
    if (reused->count == reused->capacity && !grow_reused(reused))
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    reused->slots[reused->count] = slot;
    reused->lives[reused->count++] = *life;
    return reused->count == LOAD_REUSED_MAX ? put_reused(load, ordinal, error) : STATUS_OK;
}

static enum status put_all_reused(struct load *load, struct error *error) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < load->collection->vectors_count && status == STATUS_OK; i++)
        status = put_reused(load, i, error);
    return status;
}

static void free_reused(struct load *load) {
    for (size_t i = 0; load->reused && i < load->collection->vectors_count; i++) {
        free(load->reused[i].slots);
        free(load->reused[i].lives);
    }
    free(load->reused);
}

/* ---- Rows -------------------------------------------------------------------------------------
 */

/* Puts one vector of a live row unless the graph file brought it. */
static enum status load_vector(struct load *load, size_t ordinal, const struct stored_row *row,
                               struct error *error) {
    uint8_t key[POINT_ID_KEY_MAX];
    bool is_known = vector_index_has(load->collection->vectors[ordinal].index, row->slot);
    if (is_known && row->born <= load->operations[ordinal])
        return STATUS_OK;
    const struct reused_life life = {.born = row->born,
                                     .key = XXH3_64bits(key, point_id_key(&row->id, key))};
    return (is_known ? add_reused : put_vector)(load, ordinal, row->slot, &life, error);
}

/* A graph that knows the slot of a row without its vector knows an earlier life. */
static enum status drop_others(struct load *load, const struct stored_row *row,
                               struct error *error) {
    const struct collection *collection = load->collection;
    const struct reused_life none = {0};
    enum status status = STATUS_OK;
    if (row->vectors_count == collection->vectors_count)
        return STATUS_OK;
    for (size_t i = 0; i < collection->vectors_count && status == STATUS_OK; i++) {
        const struct collection_vector *vector = &collection->vectors[i];
        if (vector_index_has(vector->index, row->slot) &&
            !row_keys_row_has_vector(row, vector->layout.number))
            status = add_reused(load, i, row->slot, &none, error);
    }
    return status;
}

static enum status load_row(struct load *load, const struct stored_row *row, struct error *error) {
    struct collection *collection = load->collection;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < row->vectors_count && status == STATUS_OK; i++) {
        const struct collection_vector *vector =
            collection_vector_of(collection, row_keys_row_vector(row, i));
        status = vector ? load_vector(load, (size_t)(vector - collection->vectors), row, error)
                        : error_set(error, STATUS_CORRUPT,
                                    "Stored data is corrupt: a row has an unknown vector");
    }
    if (status == STATUS_OK)
        status = drop_others(load, row, error);
    slots_born(collection->slots, row->slot, row->born);
    load->points++;
    return status;
}

/* No row: the slot is free, unless a graph still knows it. */
static enum status load_hole(struct load *load, uint32_t slot, struct error *error) {
    struct collection *collection = load->collection;
    bool is_known = false;
    for (size_t i = 0; i < collection->vectors_count; i++)
        is_known |= vector_index_has(collection->vectors[i].index, slot);
    if (!is_known) {
        slot_pool_give(&collection->pool, slot);
        return STATUS_OK;
    }
    enum status status =
        slot_pool_reserve(&collection->pool, collection->state.next_slot, 1, error);
    if (status != STATUS_OK)
        return status;
    slots_born(collection->slots, slot, 1);
    slots_died(collection->slots, slot, 1);
    slot_pool_add_dead(&collection->pool, slot, 1);
    return STATUS_OK;
}

static enum status load_rows(struct load *load, struct error *error) {
    struct collection *collection = load->collection;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint32_t expected = 0, slot_end = collection->state.next_slot;
    int code = mdb_cursor_open(load->rows.txn, load->rows.dbis[COLLECTION_DBI_ROWS], &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the rows");
    enum status status = STATUS_OK;
    while (status == STATUS_OK && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct stored_row row;
        uint32_t slot = key.mv_size == ROW_SLOT_KEY ? row_keys_slot_of(key.mv_data) : SLOT_NONE;
        if (slot >= slot_end || slot < expected) {
            status = error_set(error, STATUS_CORRUPT, "Stored data is corrupt: a slot's number");
            break;
        }
        while (expected < slot && status == STATUS_OK)
            status = load_hole(load, expected++, error);
        expected = slot + 1;
        if (status == STATUS_OK)
            status = row_keys_read_row(slot, &value, &row, error);
        if (status == STATUS_OK)
            status = load_row(load, &row, error);
    }
    mdb_cursor_close(cursor);
    if (status == STATUS_OK && code != MDB_NOTFOUND)
        status = lmdb_env_fail(error, code, "read the rows");
    while (status == STATUS_OK && expected < slot_end)
        status = load_hole(load, expected++, error);
    if (status == STATUS_OK)
        status = put_all_reused(load, error);
    if (status == STATUS_OK && load->points != collection->state.points)
        status = error_set(
            error, STATUS_CORRUPT, "Stored data is corrupt: %llu points are there, %llu should be",
            (unsigned long long)load->points, (unsigned long long)collection->state.points);
    return status;
}

/* The slots as slots.bin knows them; *is_done false if it, or a graph file, is not as of now. */
static enum status load_slots(struct load *load, bool *is_done, struct error *error) {
    struct collection *collection = load->collection;
    *is_done = collection->vectors_count > 0;
    for (size_t i = 0; i < collection->vectors_count; i++)
        *is_done &= load->operations[i] == collection->state.operation;
    uint64_t *born = NULL;
    if (*is_done)
        born = slot_file_load(collection->path, &collection->state);
    else
        slot_file_remove(collection->path);
    *is_done = born != NULL;
    enum status status = STATUS_OK;
    for (uint32_t slot = 0; born && slot < collection->state.next_slot && status == STATUS_OK;
         slot++) {
        if (born[slot] > 0)
            slots_born(collection->slots, slot, born[slot]);
        else
            status = load_hole(load, slot, error);
    }
    free(born);
    return status;
}

static enum status read_state(struct load *load, struct error *error) {
    struct collection *collection = load->collection;
    struct collection_state *state = &collection->state;
    bool is_found;
    enum status status = point_rows_read_state(&load->rows, state, &is_found, error);
    if (status == STATUS_OK && !is_found)
        status = error_set(error, STATUS_CORRUPT, "the data file is empty");
    if (status == STATUS_OK && state->incarnation != collection->incarnation)
        status = error_set(error, STATUS_CORRUPT, "the data file belongs to another collection");
    if (status == STATUS_OK && state->next_slot > 0 && state->next_slot - 1 > SLOT_MAX)
        status = error_set(error, STATUS_CORRUPT, "Stored data is corrupt: number of slots");
    if (status != STATUS_OK)
        return status;
    struct field_table fields;
    struct arena arena;
    arena_init(&arena, LOAD_ARENA_MAX);
    status = field_table_load(&fields, &load->rows, &arena, error);
    collection->has_field_work =
        status == STATUS_OK && (fields.dropping_count > 0 || fields.count > fields.ready_count);
    arena_free(&arena);
    return status;
}

/* Memory for all slots, and whether the graph files are of the past that the data file knows. */
static enum status prepare(struct load *load, uint64_t *saved, struct error *error) {
    struct collection *collection = load->collection;
    uint32_t slot_end = collection->state.next_slot;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < collection->vectors_count && status == STATUS_OK; i++) {
        uint64_t operation = load->operations[i];
        *saved = operation < *saved ? operation : *saved;
        status = operation <= collection->state.operation
                     ? vector_index_reserve(collection->vectors[i].index, slot_end, error)
                     : error_set(error, STATUS_CORRUPT,
                                 "the data file is older than its graph file: it is not the "
                                 "latest copy");
    }
    if (status == STATUS_OK)
        status = slots_reserve(collection->slots, slot_end, error);
    if (status == STATUS_OK)
        status = slot_pool_reserve(&collection->pool, slot_end, 0, error);
    return status;
}

static enum status load_all(struct load *load, struct error *error) {
    struct collection *collection = load->collection;
    uint64_t saved = UINT64_MAX;
    bool is_done = false;
    enum status status = read_state(load, error);
    if (status == STATUS_OK)
        status = prepare(load, &saved, error);
    if (status == STATUS_OK)
        status = load_slots(load, &is_done, error);
    if (status == STATUS_OK && !is_done)
        status = load_rows(load, error);
    if (status != STATUS_OK)
        return status;
    atomic_store(&collection->points, collection->state.points);
    atomic_store(&collection->published, collection->state.operation);
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        atomic_fetch_add(&collection->unsaved_changes, info.waiting_count);
    }
    atomic_store(&collection->saved_operation, collection->vectors_count > 0 ? saved : 0);
    return STATUS_OK;
}

enum status collection_load(struct collection *collection, const uint64_t *operations,
                            struct error *error) {
    struct load load = {.collection = collection, .operations = operations};
    MDB_txn *txn = NULL;
    enum status status = index_scratch_create(&load.scratch, error);
    if (status != STATUS_OK)
        return status;
    load.reused = calloc(collection->vectors_count + 1, sizeof(*load.reused));
    if (!load.reused) {
        index_scratch_free(load.scratch);
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    status = lmdb_env_read_begin(&collection->env, 0, &txn, error);
    if (status == STATUS_OK) {
        load.rows = (struct point_rows){.txn = txn, .dbis = collection->env.dbis};
        status = load_all(&load, error);
        lmdb_env_read_end(&collection->env, txn);
    }
    free_reused(&load);
    index_scratch_free(load.scratch);
    return status;
}
