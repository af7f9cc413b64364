/* reader_query.c -- nearest neighbours as of one snapshot: plan the filter, search, fetch rows.
 * Queries of a batch that are to be scanned for among the same slots share one scan.
 *
 * The index proposes slots that are visible as of the snapshot's operation; the transaction has the
 * rows (invariant 2). The index asks back for vectors and for the order of ids, both answered from
 * the transaction.
 */
#include "storage/point_match.h"
#include "storage/reader_internal.h"
#include "storage/storage_internal.h"

#include <assert.h>
#include <string.h>

enum {
    QUERY_VERIFICATIONS = 4096, /* rows a filtered walk of the graph asks about, in about */
    SAMPLE_ROWS = 64,           /* looked at to guess how many candidates match */
    FEW_ROWS = 1024,            /* so few are scanned whatever the guess */
    ROWS_TOGETHER = 16,         /* of hits, looked for before one is read */
    SHARED_HITS_MAX = 1024,     /* a query that wants more hits shares its scan with no other: each
                                   keeps its own until all have theirs */
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
    enum status status = point_rows_get_live(&run->reader->rows, a, &row_a, run->error);
    if (status == STATUS_OK)
        status = point_rows_get_live(&run->reader->rows, b, &row_b, run->error);
    if (status == STATUS_OK)
        return point_id_compare(&row_a.id, &row_b.id);
    keep_failure(run, status);
    return a < b ? -1 : a > b;
}

static bool filter_slot(void *context, uint32_t slot) {
    struct query_run *run = context;
    struct stored_row row;
    enum status status = point_rows_get_live(&run->reader->rows, slot, &row, run->error);
    if (status != STATUS_OK)
        keep_failure(run, status);
    return status == STATUS_OK &&
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
 * the first is read, and where they were last found before that: what a row costs is waiting for
 * memory, and so they wait together. */
static enum status fetch_together(struct query_run *run, const struct hit *found, size_t count,
                                  struct query_hits *hits) {
    MDB_val values[ROWS_TOGETHER];
    struct place_cache *cache = reader_cache(run->reader);
    enum status status = STATUS_OK;
    for (size_t i = 0; cache && i < count; i++)
        place_cache_prefetch(cache, PLACE_ROWS, 0, found[i].slot);
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status =
            point_rows_locate(&run->reader->rows, found[i].slot, cache, &values[i], run->error);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct stored_row row;
        float score = distance_score(run->vector->distance, found[i].distance);
        status = read_row(run, found[i].slot, &values[i], &row);
        if (status == STATUS_OK)
            add_hit(hits, (struct query_hit){.row = reader_point_row(&row), .score = score});
        if (status == STATUS_OK)
            status = reader_step(run->reader, 0, run->error);
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

/* A query that is ready to be searched for. */
struct target {
    struct query_run run;
    const float *values;
    uint32_t own;              /* the slot of the point that the query names, or SLOT_NONE */
    struct slot_filter filter; /* if the query has one */
    bool is_void;              /* nothing can be found */
    bool is_done;              /* of a batch: its hits are there */
};

/* Plans the filter of the target's query. */
static enum status plan_filter(struct target *target) {
    struct query_run *run = &target->run;
    const struct query *query = run->query;
    struct filter_plan plan;
    enum status status = reader_plan(run->reader, query->filter,
                                     query->exact ? 0 : QUERY_VERIFICATIONS, &plan, run->error);
    if (status != STATUS_OK)
        return status;
    target->is_void = plan.count == 0;
    if (target->is_void)
        return STATUS_OK;
    target->filter = (struct slot_filter){
        .words = plan.words,
        .slot_end = plan.slot_end,
        .count = plan.count,
        .matches = plan.is_exact ? NULL : filter_slot,
        .context = run,
        .estimate = estimate_matches(run, &plan),
    };
    return run->status;
}

/* The target stays where it is: its filter points at its run. */
static enum status make_target(struct reader *reader, const struct query *query,
                               struct target *target, struct error *error) {
    *target = (struct target){.run = {.reader = reader, .query = query, .error = error}};
    target->run.vector = collection_vector_of(reader->collection, query->vector->number);
    if (!target->run.vector)
        return error_set(error, STATUS_INVALID, "Not existing vector name error: %s",
                         query->vector->name);
    reader_enter_stage(reader, STAGE_search);
    enum status status = resolve_vector(&target->run, &target->values, &target->own);
    target->is_void = reader->state.points == 0;
    if (status == STATUS_OK && !target->is_void && query->filter)
        status = plan_filter(target);
    return status;
}

static struct index_query index_query_of(const struct target *target) {
    const struct reader *reader = target->run.reader;
    const struct query *query = target->run.query;
    return (struct index_query){
        .vector = target->values,
        .k = wanted_count(query, target->own != SLOT_NONE),
        .ef = query->ef,
        .exact = query->exact,
        .indexed_only = query->indexed_only,
        .operation = reader->state.operation,
        .filter = query->filter ? &target->filter : NULL,
        .cancelled = reader->options.cancelled,
        .deadline_ns = reader->options.deadline_ns,
    };
}

static enum status search(struct target *target, struct query_hits *hits) {
    struct query_run *run = &target->run;
    struct index_scratch *scratch;
    struct index_answer answer = {0};
    const struct vector_owner owner = {
        .vector = owner_vector, .compare = owner_compare, .context = run};
    const struct index_query query = index_query_of(target);
    if (target->is_void)
        return STATUS_OK;
    reader_enter_stage(run->reader, STAGE_search);
    enum status status =
        storage_take_scratch(run->reader->collection->storage, &scratch, run->error);
    if (status != STATUS_OK)
        return status;
    status = vector_index_search(run->vector->index, &query, &owner, scratch, &answer, run->error);
    if (run->status != STATUS_OK)
        status = run->status; /* an answer without a damaged vector would be a wrong one */
    if (status == STATUS_OK)
        status = fetch_rows(run, &answer, target->own, hits);
    storage_give_scratch(run->reader->collection->storage, scratch);
    return status;
}

enum status reader_query(struct reader *reader, const struct query *query, struct query_hits *hits,
                         struct error *error) {
    struct target target;
    *hits = (struct query_hits){0};
    enum status status = make_target(reader, query, &target, error);
    return status == STATUS_OK ? search(&target, hits) : status;
}

/* ---- Batches ----------------------------------------------------------------------------------
 */

/* True if a scan for one would look at the same slots as one for the other. */
static bool is_alike(const struct target *a, const struct target *b) {
    if (a->run.vector != b->run.vector || a->run.query->indexed_only != b->run.query->indexed_only)
        return false;
    if (!a->run.query->filter || !b->run.query->filter)
        return a->run.query->filter == b->run.query->filter;
    assert(a->filter.words && b->filter.words);
    /* Filters are compared by what passes, which is known where the plan is exact. */
    return !a->filter.matches && !b->filter.matches && a->filter.count == b->filter.count &&
           a->filter.slot_end == b->filter.slot_end &&
           memcmp(a->filter.words, b->filter.words,
                  ((size_t)a->filter.slot_end + 63) / 64 * sizeof(uint64_t)) == 0;
}

/* The targets from the first one on that can share its scan; their number. */
static size_t find_alike(struct target *targets, size_t count, struct target **alike) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct target *target = &targets[i];
        if (!target->is_done && !target->is_void &&
            wanted_count(target->run.query, true) <= SHARED_HITS_MAX &&
            (found == 0 || is_alike(alike[0], target)))
            alike[found++] = target;
    }
    return found;
}

/* Keeps those that are best scanned for if so many are; their number. */
static size_t keep_scans(struct target **alike, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct index_query query = index_query_of(alike[i]);
        if (vector_index_plan(alike[i]->run.vector->index, &query, count) == INDEX_PLAN_EXACT)
            alike[kept++] = alike[i];
    }
    return kept;
}

/* One scan for all; hits are those of all targets, from the first of the batch on. */
static enum status scan_together(struct target *targets, struct target **alike, size_t count,
                                 struct query_hits *hits) {
    struct query_run *run = &alike[0]->run;
    struct storage *storage = run->reader->collection->storage;
    struct index_scratch *scratch;
    struct index_query queries[READER_TOGETHER_MAX];
    struct index_answer answers[READER_TOGETHER_MAX];
    const struct vector_owner owner = {
        .vector = owner_vector, .compare = owner_compare, .context = run};
    reader_enter_stage(run->reader, STAGE_search);
    for (size_t i = 0; i < count; i++) {
        queries[i] = index_query_of(alike[i]);
        queries[i].filter = queries[0].filter;
    }
    enum status status = storage_take_scratch(storage, &scratch, run->error);
    if (status != STATUS_OK)
        return status;
    status =
        vector_index_scan(run->vector->index, queries, count, &owner, scratch, answers, run->error);
    if (run->status != STATUS_OK)
        status = run->status;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = fetch_rows(&alike[i]->run, &answers[i], alike[i]->own, &hits[alike[i] - targets]);
        alike[i]->is_done = true;
    }
    storage_give_scratch(storage, scratch);
    return status;
}

enum status reader_query_batch(struct reader *reader, const struct query *queries, size_t count,
                               struct query_hits *hits, struct error *error) {
    struct target targets[READER_TOGETHER_MAX], *alike[READER_TOGETHER_MAX];
    enum status status = STATUS_OK;
    assert(count <= READER_TOGETHER_MAX);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        hits[i] = (struct query_hits){0};
        status = make_target(reader, &queries[i], &targets[i], error);
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (targets[i].is_done)
            continue;
        size_t sharing = keep_scans(alike, find_alike(targets + i, count - i, alike));
        if (sharing > 1 && alike[0] == &targets[i])
            status = scan_together(targets, alike, sharing, hits);
        else
            status = search(&targets[i], &hits[i]);
        targets[i].is_done = true;
    }
    return status;
}
