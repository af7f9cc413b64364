#include "storage/collection_verify.h"
#include "storage/postings.h"
#include "storage/reader_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    VERIFY_ARENA_MAX = 1 << 28,
    VERIFY_SCRATCH_KEPT = 1 << 24, /* the scratch arena is emptied beyond this */
    VERIFY_PROBLEMS_MAX = 100,     /* reported of one collection */
    VERIFY_LINK_WAIT_S = 60,       /* how long linking may take before the graphs are left out */
};

/* The postings that the payloads call for under one index. */
struct verified_field {
    struct posting_batch batch; /* collected, not compared yet; in the scratch arena */
    uint64_t total;             /* compared */
};

struct verify {
    struct collection *collection;
    struct reader *reader;
    struct arena scratch;
    storage_problem_fn *report;
    void *context;
    size_t problems;
    uint64_t rows, ids;
    struct verified_field *fields; /* malloc'ed; by place in the reader's fields */
};

static void tell(struct verify *verify, const char *problem) {
    if (verify->problems++ < VERIFY_PROBLEMS_MAX)
        verify->report(verify->context, problem);
}

/* Reports a failure that says that data is bad; hands back one that stops the check. */
static enum status judge(struct verify *verify, enum status status, const struct error *error) {
    if (status != STATUS_CORRUPT)
        return status;
    tell(verify, error->message);
    return STATUS_OK;
}

/* ---- Rows -------------------------------------------------------------------------------------
 */

/* A slot that a snapshot sees is in the indexes of its vectors and in no other; what searches
 * propose of it is else damage to whoever reads it, or is not proposed at all. */
static enum status check_membership(struct verify *verify, const struct stored_row *row,
                                    struct error *error) {
    const struct collection *collection = verify->collection;
    if (!slots_visible(collection->slots, row->slot, verify->reader->state.operation) ||
        slots_born_at(collection->slots, row->slot) != row->born)
        return error_set(error, STATUS_CORRUPT, "slot %u lives in its row, not in memory",
                         row->slot);
    for (size_t i = 0; i < collection->vectors_count; i++) {
        uint16_t number = collection->vectors[i].layout.number;
        bool has = row_keys_row_has_vector(row, number);
        if (vector_index_has(collection->vectors[i].index, row->slot) != has)
            return error_set(error, STATUS_CORRUPT, "graph %u %s slot %u, whose row has %s vector",
                             number, has ? "lacks" : "knows", row->slot, has ? "its" : "no such");
    }
    return STATUS_OK;
}

static enum status check_vectors(struct verify *verify, const struct stored_row *row,
                                 struct error *error) {
    for (size_t i = 0; i < row->vectors_count; i++) {
        const struct collection_vector *vector =
            collection_vector_of(verify->collection, row_keys_row_vector(row, i));
        const float *values;
        enum status status = vector
                                 ? reader_read_vector(verify->reader, vector, row, &values, error)
                                 : error_set(error, STATUS_CORRUPT, "a row has an unknown vector");
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void start_batches(struct verify *verify) {
    arena_free(&verify->scratch);
    for (size_t i = 0; i < verify->reader->fields.ready_count; i++)
        posting_batch_init(&verify->fields[i].batch, &verify->scratch,
                           verify->reader->rows.dbis[COLLECTION_DBI_POSTINGS]);
}

/* Compares what has been collected of each field with what is posted. */
static enum status compare_postings(struct verify *verify, struct error *error) {
    const struct point_rows *rows = &verify->reader->rows;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < verify->reader->fields.ready_count && status == STATUS_OK; i++) {
        uint64_t total = 0;
        status = posting_batch_verify(&verify->fields[i].batch, rows->txn, &total, error);
        verify->fields[i].total += total;
        status = judge(verify, status, error);
    }
    start_batches(verify);
    return status;
}

static enum status collect_postings(struct verify *verify, const struct stored_row *row,
                                    struct error *error) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < verify->reader->fields.ready_count && status == STATUS_OK; i++)
        status =
            payload_index_collect(&verify->fields[i].batch, &verify->reader->fields.fields[i], 1,
                                  row->slot, row->payload, row->payload_length, true, error);
    if (status == STATUS_OK && verify->scratch.total > VERIFY_SCRATCH_KEPT)
        status = compare_postings(verify, error);
    return status;
}

static enum status check_row(struct verify *verify, const struct stored_row *row,
                             struct error *error) {
    uint32_t slot = SLOT_NONE;
    bool is_found = false;
    enum status status = point_rows_find(&verify->reader->rows, &row->id, &slot, &is_found, error);
    if (status == STATUS_OK && (!is_found || slot != row->slot))
        status = error_set(error, STATUS_CORRUPT, "a row whose id names another slot");
    if (status == STATUS_OK && (row->slot >= verify->reader->state.next_slot ||
                                row->version > verify->reader->state.operation))
        status = error_set(error, STATUS_CORRUPT, "a row from the future");
    if (status == STATUS_OK)
        status = check_vectors(verify, row, error);
    if (status == STATUS_OK)
        status = check_membership(verify, row, error);
    return status == STATUS_OK ? collect_postings(verify, row, error) : status;
}

static enum status check_rows(struct verify *verify, struct error *error) {
    const struct point_rows *rows = &verify->reader->rows;
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(rows->txn, rows->dbis[COLLECTION_DBI_ROWS], &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the rows");
    enum status status = STATUS_OK;
    while (status == STATUS_OK && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct stored_row row = {0};
        verify->rows++;
        status = key.mv_size == ROW_SLOT_KEY
                     ? row_keys_read_row(row_keys_slot_of(key.mv_data), &value, &row, error)
                     : error_set(error, STATUS_CORRUPT, "a slot's number");
        if (status == STATUS_OK)
            status = check_row(verify, &row, error);
        status = judge(verify, status, error);
    }
    mdb_cursor_close(cursor);
    return status == STATUS_OK && code != MDB_NOTFOUND ? lmdb_env_fail(error, code, "read the rows")
                                                       : status;
}

/* ---- Ids, postings, graphs --------------------------------------------------------------------
 */

/* Each id leads to a row that has it; rows were looked at from the other side. */
static enum status check_ids(struct verify *verify, struct error *error) {
    const struct point_rows *rows = &verify->reader->rows;
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(rows->txn, rows->dbis[COLLECTION_DBI_POINTS], &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the ids");
    enum status status = STATUS_OK;
    while (status == STATUS_OK && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct point_id id;
        struct stored_row row;
        bool is_found;
        verify->ids++;
        status = point_id_from_key(key.mv_data, key.mv_size, &id)
                     ? point_rows_get_by_id(rows, &id, &row, &is_found, error)
                     : error_set(error, STATUS_CORRUPT, "an id that is none");
        status = judge(verify, status, error);
    }
    mdb_cursor_close(cursor);
    return status == STATUS_OK && code != MDB_NOTFOUND ? lmdb_env_fail(error, code, "read the ids")
                                                       : status;
}

static enum status check_posting_counts(struct verify *verify, struct error *error) {
    const struct point_rows *rows = &verify->reader->rows;
    MDB_dbi dbi = rows->dbis[COLLECTION_DBI_POSTINGS];
    uint64_t count = 0;
    enum status status = postings_count(rows->txn, dbi, POSTING_FIELD_LIVE, &count, error);
    if (status == STATUS_OK && count != verify->rows)
        status = error_set(error, STATUS_CORRUPT, "%llu live slots are posted, %llu rows are there",
                           (unsigned long long)count, (unsigned long long)verify->rows);
    status = judge(verify, status, error);
    for (size_t i = 0; i < verify->reader->fields.ready_count && status == STATUS_OK; i++) {
        const struct payload_index_field *field = &verify->reader->fields.fields[i];
        status = postings_count(rows->txn, dbi, field->number, &count, error);
        if (status == STATUS_OK && count != verify->fields[i].total)
            status = error_set(error, STATUS_CORRUPT,
                               "payload index %.200s: %llu postings, %llu are called for",
                               field->path.text, (unsigned long long)count,
                               (unsigned long long)verify->fields[i].total);
        status = judge(verify, status, error);
    }
    return status;
}

static void check_counts(struct verify *verify) {
    struct error error = {0};
    uint64_t points = verify->reader->state.points;
    if (verify->rows == points && verify->ids == points)
        return;
    error_set(&error, STATUS_CORRUPT, "%llu points should be there; rows: %llu, ids: %llu",
              (unsigned long long)points, (unsigned long long)verify->rows,
              (unsigned long long)verify->ids);
    tell(verify, error.message);
}

/* Graphs can be checked only while they rest. */
static enum status check_graphs(struct verify *verify, struct error *error) {
    struct collection *collection = verify->collection;
    const struct timespec pause = {.tv_nsec = 10000000};
    uint64_t until = collection_now_ns() + VERIFY_LINK_WAIT_S * 1000000000ULL;
    while (atomic_flag_test_and_set(&collection->is_maintained))
        nanosleep(&pause, NULL);
    enum status status = STATUS_OK;
    while (collection_has_waiting(collection, 0) && collection_now_ns() < until)
        nanosleep(&pause, NULL);
    for (size_t i = 0; i < collection->vectors_count && status == STATUS_OK; i++)
        if (!collection_has_waiting(collection, 0))
            status = judge(verify, vector_index_check(collection->vectors[i].index, error), error);
    atomic_flag_clear(&collection->is_maintained);
    return status;
}

/* ---- All of it --------------------------------------------------------------------------------
 */

static enum status check_all(struct verify *verify, struct error *error) {
    const struct payload_index_status *indexes;
    size_t count;
    enum status status = reader_payload_indexes(verify->reader, &indexes, &count, error);
    status = judge(verify, status, error);
    verify->fields = calloc(PAYLOAD_INDEXES_MAX, sizeof(*verify->fields));
    if (!verify->fields)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    start_batches(verify);
    if (status == STATUS_OK)
        status = check_rows(verify, error);
    if (status == STATUS_OK)
        status = compare_postings(verify, error);
    if (status == STATUS_OK)
        status = check_ids(verify, error);
    if (status == STATUS_OK)
        status = check_posting_counts(verify, error);
    check_counts(verify);
    return status;
}

enum status collection_verify(struct collection *collection, storage_problem_fn *report,
                              void *context, struct error *error) {
    struct verify verify = {.collection = collection, .report = report, .context = context};
    struct arena arena;
    arena_init(&arena, VERIFY_ARENA_MAX);
    arena_init(&verify.scratch, VERIFY_ARENA_MAX);
    const struct reader_options options = {.arena = &arena};
    enum status status = reader_begin(collection, &options, &verify.reader, error);
    if (status == STATUS_OK) {
        status = check_all(&verify, error);
        reader_end(verify.reader);
    }
    if (status == STATUS_OK)
        status = check_graphs(&verify, error);
    free(verify.fields);
    arena_free(&verify.scratch);
    arena_free(&arena);
    if (status == STATUS_OK && verify.problems > 0)
        return error_set(error, STATUS_CORRUPT, "%zu problems were found", verify.problems);
    return status;
}
