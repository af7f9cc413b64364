/* reader_query.c -- nearest neighbours as of one snapshot: plan the filter, search, fetch rows.
 *
 * The index proposes slots that are visible as of the snapshot's operation; the transaction has the
 * rows (invariant 2). The index asks back for vectors and for the order of ids, both answered from
 * the transaction.
 */
#include "storage/point_match.h"
#include "storage/reader_internal.h"
#include "storage/storage_internal.h"

#include <string.h>

enum {
    QUERY_VERIFICATIONS = 4096, /* rows a filtered walk of the graph asks about, in about */
    SAMPLE_ROWS = 64,           /* looked at to guess how many candidates match */
    FEW_ROWS = 1024,            /* so few are scanned whatever the guess */
    ROWS_TOGETHER = 16,         /* of hits, looked for before one is read */
};

/* What the index's questions need; failures are kept here, since answers cannot carry them. */
struct query_run {
    struct reader *reader;
    const struct collection_vector *vector;
    const struct query *query;
    struct error *error;
    enum status status;
};

static void keep_failure(struct query_run *run, enum status status) {
    if (run->status == STATUS_OK)
        run->status = status;
}

/* Without the row, which is fetched for the hits only and compared with the vector then. */
static const float *owner_vector(void *context, uint32_t slot) {
    struct query_run *run = context;
    struct reader *reader = run->reader;
    const float *values;
    uint64_t born;
    enum status status = vector_blocks_peek(
        reader->rows.txn, reader->rows.dbis[COLLECTION_DBI_VECTORS], &run->vector->layout, slot,
        reader_cache(reader), &values, &born, run->error);
    if (status == STATUS_OK && born > reader->state.operation)
        status = error_set(run->error, STATUS_CORRUPT, "Stored data is corrupt: a vector");
    if (status != STATUS_OK)
        keep_failure(run, status);
    return status == STATUS_OK ? values : NULL;
}

static int owner_compare(void *context, uint32_t a, uint32_t b) {
    struct query_run *run = context;
    struct stored_row row_a, row_b;
    bool has_a = false, has_b = false;
    enum status status = point_rows_get(&run->reader->rows, a, &row_a, &has_a, run->error);
    if (status == STATUS_OK)
        status = point_rows_get(&run->reader->rows, b, &row_b, &has_b, run->error);
    if (status != STATUS_OK)
        keep_failure(run, status);
    if (status != STATUS_OK || !has_a || !has_b)
        return a < b ? -1 : a > b;
    return point_id_compare(&row_a.id, &row_b.id);
}

static bool filter_slot(void *context, uint32_t slot) {
    struct query_run *run = context;
    struct stored_row row;
    bool is_found;
    enum status status = point_rows_get(&run->reader->rows, slot, &row, &is_found, run->error);
    if (status != STATUS_OK)
        keep_failure(run, status);
    return status == STATUS_OK && is_found &&
           point_match_row(run->query->filter, &row, &run->reader->config->config);
}

/* How many of the candidates match; if the plan is inexact, guessed from every n-th of them: the
 * same each time, so that the same query is planned in the same way. */
static uint32_t estimate_matches(struct query_run *run, const struct filter_plan *plan) {
    if (plan->is_exact || plan->count <= FEW_ROWS)
        return plan->count;
    uint32_t step = plan->count / SAMPLE_ROWS + 1, seen = 0, asked = 0, matching = 0;
    for (size_t word = 0; word < ((size_t)plan->slot_end + 63) / 64; word++) {
        uint32_t before = seen;
        seen += (uint32_t)__builtin_popcountll(plan->words[word]);
        if (before / step == seen / step)
            continue;
        asked++;
        matching +=
            filter_slot(run, (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(plan->words[word]));
    }
    uint64_t estimate = (uint64_t)plan->count * (2 * matching + 1) / (2 * asked + 2);
    return estimate > 0 ? (uint32_t)estimate : 1;
}

/* ---- The steps --------------------------------------------------------------------------------
 */

/* Finds the vector of the point that the query names; *own is its slot. */
static enum status resolve_vector(struct query_run *run, const float **values, uint32_t *own) {
    const struct query *query = run->query;
    *values = query->values;
    *own = SLOT_NONE;
    if (!query->id)
        return STATUS_OK;
    struct stored_row row;
    bool is_found;
    enum status status =
        point_rows_get_by_id(&run->reader->rows, query->id, &row, &is_found, run->error);
    if (status != STATUS_OK)
        return status;
    if (!is_found)
        return point_rows_not_found(run->error, query->id);
    *own = row.slot;
    if (query->values)
        return STATUS_OK;
    if (!row_keys_row_has_vector(&row, query->vector->number))
        return error_set(run->error, STATUS_NOT_FOUND,
                         "Vector with name \"%s\" for point not found", query->vector->name);
    return reader_read_vector(run->reader, run->vector, &row, values, run->error);
}

/* offset + limit (+ 1 for the point itself), never wrapping. */
static uint32_t wanted_count(const struct query *query, bool has_own) {
    uint64_t sum = query->limit;
    sum = query->offset > UINT64_MAX - sum ? UINT64_MAX : sum + query->offset;
    sum = sum > UINT32_MAX - 2 ? UINT32_MAX - 2 : sum;
    return (uint32_t)sum + has_own;
}

static bool passes_threshold(const struct query_run *run, float score) {
    if (!run->query->has_threshold)
        return true;
    return distance_larger_is_better(run->vector->distance) ? score > run->query->threshold
                                                            : score < run->query->threshold;
}

/* Two squared distances that differ may have one root: equal scores are ordered by id. The index
 * has ordered equal distances already, so that hardly ever anything moves. */
static void add_hit(struct query_hits *hits, struct query_hit hit) {
    size_t at = hits->count++;
    while (at > 0 && hits->hits[at - 1].score == hit.score &&
           point_id_compare(&hits->hits[at - 1].row.id, &hit.row.id) > 0) {
        hits->hits[at] = hits->hits[at - 1];
        at--;
    }
    hits->hits[at] = hit;
}

/* The row of a hit. Its vector, which owner_vector has lent and checked, must be of the same life
 * of the slot. */
static enum status read_row(struct query_run *run, uint32_t slot, const MDB_val *value,
                            struct stored_row *row) {
    struct reader *reader = run->reader;
    uint64_t born = 0;
    if (!value->mv_data)
        return error_set(run->error, STATUS_CORRUPT,
                         "Stored data is corrupt: the row of a visible slot is missing");
    enum status status = row_keys_read_row(slot, value, row, run->error);
    if (status == STATUS_OK)
        status =
            vector_blocks_born(reader->rows.txn, reader->rows.dbis[COLLECTION_DBI_VECTORS],
                               &run->vector->layout, slot, reader_cache(reader), &born, run->error);
    if (status == STATUS_OK && born != row->born)
        return error_set(run->error, STATUS_CORRUPT, "Stored data is corrupt: an old vector");
    return status;
}

/* Rows of hits that are to be returned; count is at most ROWS_TOGETHER. All are looked for before
 * the first is read: what a row costs is waiting for memory, and so they wait together. */
static enum status fetch_together(struct query_run *run, const struct hit *found, size_t count,
                                  struct query_hits *hits) {
    MDB_val values[ROWS_TOGETHER];
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = point_rows_locate(&run->reader->rows, found[i].slot, &values[i], run->error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct stored_row row;
        float score = distance_score(run->vector->distance, found[i].distance);
        status = read_row(run, found[i].slot, &values[i], &row);
        if (status == STATUS_OK)
            add_hit(hits, (struct query_hit){.row = reader_point_row(&row), .score = score});
    }
    return status;
}

/* Rows of the hits between offset and limit that are near enough. */
static enum status fetch_rows(struct query_run *run, const struct index_answer *answer,
                              uint32_t own, struct query_hits *hits) {
    const struct query *query = run->query;
    struct hit found[ROWS_TOGETHER];
    size_t count = 0;
    uint64_t skipped = 0;
    enum status status = STATUS_OK;
    reader_enter_stage(run->reader, STAGE_rows);
    hits->hits = arena_alloc(run->reader->options.arena,
                             (answer->count > query->limit ? (size_t)query->limit : answer->count) *
                                     sizeof(*hits->hits) +
                                 1);
    if (!hits->hits)
        return error_set(run->error, STATUS_NO_MEMORY, "the request needs too much memory");
    for (size_t i = 0; status == STATUS_OK && i < answer->count; i++) {
        if (answer->hits[i].slot == own)
            continue;
        if (!passes_threshold(run, distance_score(run->vector->distance, answer->hits[i].distance)))
            break; /* the rest is farther */
        if (skipped < query->offset) {
            skipped++;
            continue;
        }
        if (hits->count + count == query->limit)
            break;
        found[count++] = answer->hits[i];
        if (count == ROWS_TOGETHER) {
            status = fetch_together(run, found, count, hits);
            count = 0;
        }
    }
    return status == STATUS_OK ? fetch_together(run, found, count, hits) : status;
}

static enum status search(struct query_run *run, const float *values, uint32_t own,
                          const struct slot_filter *filter, struct query_hits *hits) {
    struct reader *reader = run->reader;
    struct index_scratch *scratch;
    struct index_answer answer = {0};
    const struct vector_owner owner = {
        .vector = owner_vector, .compare = owner_compare, .context = run};
    const struct index_query query = {
        .vector = values,
        .k = wanted_count(run->query, own != SLOT_NONE),
        .ef = run->query->ef,
        .exact = run->query->exact,
        .indexed_only = run->query->indexed_only,
        .operation = reader->state.operation,
        .filter = filter,
        .cancelled = reader->options.cancelled,
        .deadline_ns = reader->options.deadline_ns,
    };
    enum status status = storage_take_scratch(reader->collection->storage, &scratch, run->error);
    if (status != STATUS_OK)
        return status;
    status = vector_index_search(run->vector->index, &query, &owner, scratch, &answer, run->error);
    if (run->status != STATUS_OK)
        status = run->status; /* an answer without a damaged vector would be a wrong one */
    if (status == STATUS_OK)
        status = fetch_rows(run, &answer, own, hits);
    storage_give_scratch(reader->collection->storage, scratch);
    return status;
}

enum status reader_query(struct reader *reader, const struct query *query, struct query_hits *hits,
                         struct error *error) {
    struct query_run run = {.reader = reader, .query = query, .error = error};
    run.vector = collection_vector_of(reader->collection, query->vector->number);
    *hits = (struct query_hits){0};
    if (!run.vector)
        return error_set(error, STATUS_INVALID, "Not existing vector name error: %s",
                         query->vector->name);
    reader_enter_stage(reader, STAGE_search);
    const float *values;
    uint32_t own;
    enum status status = resolve_vector(&run, &values, &own);
    if (status != STATUS_OK || reader->state.points == 0)
        return status;
    if (!query->filter)
        return search(&run, values, own, NULL, hits);

    struct filter_plan plan;
    status =
        reader_plan(reader, query->filter, query->exact ? 0 : QUERY_VERIFICATIONS, &plan, error);
    if (status != STATUS_OK || plan.count == 0)
        return status;
    const struct slot_filter filter = {
        .words = plan.words,
        .slot_end = plan.slot_end,
        .count = plan.count,
        .matches = plan.is_exact ? NULL : filter_slot,
        .context = &run,
        .estimate = estimate_matches(&run, &plan),
    };
    if (run.status != STATUS_OK)
        return run.status;
    return search(&run, values, own, &filter, hits);
}
