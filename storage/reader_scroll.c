/* reader_scroll.c -- pages of points in id order, with or without a filter.
 *
 * Two ways to the same page. Walking the ids from the first one costs by how rare the matches are;
 * collecting all that the plan proposes and sorting costs by how many there are. The cheaper is
 * taken.
 */
#include "storage/lmdb_env.h"
#include "storage/reader_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE_FIRST = 16,
    COLLECT_COST = 4, /* reading a row by slot and sorting it, in ids walked past */
};

/* A page that grows with what is found. */
struct page_builder {
    struct reader *reader;
    const struct filter *filter;
    const struct filter_plan *plan; /* NULL without a filter */
    size_t limit;
    struct point_page *page;
    size_t capacity;
};

static enum status add_row(struct page_builder *builder, const struct stored_row *row,
                           struct error *error) {
    struct point_page *page = builder->page;
    if (page->count == builder->limit) {
        page->has_next = true;
        page->next = row->id;
        return STATUS_OK;
    }
    if (page->count == builder->capacity) {
        size_t capacity = builder->capacity > 0 ? builder->capacity * 2 : PAGE_FIRST;
        struct point_row *grown =
            arena_grow(builder->reader->options.arena, page->rows,
                       builder->capacity * sizeof(*grown), capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, STATUS_NO_MEMORY, "the request needs too much memory");
        page->rows = grown;
        builder->capacity = capacity;
    }
    page->rows[page->count++] = reader_point_row(row);
    return STATUS_OK;
}

/* ---- Walking the ids --------------------------------------------------------------------------
 */

static bool is_proposed(const struct filter_plan *plan, uint32_t slot) {
    return !plan || (slot < plan->slot_end && (plan->words[slot / 64] >> (slot % 64) & 1) != 0);
}

static enum status look_at(struct page_builder *builder, const MDB_val *key, const MDB_val *value,
                           struct error *error) {
    struct stored_row row;
    uint32_t slot;
    bool matches = false;
    enum status status = row_keys_read_point(key, value, &slot, error);
    if (status != STATUS_OK || !is_proposed(builder->plan, slot))
        return status;
    status = reader_match(builder->reader, builder->filter,
                          builder->plan && builder->plan->is_exact, slot, &row, &matches, error);
    if (status == STATUS_OK && matches)
        status = add_row(builder, &row, error);
    return status;
}

static enum status walk_ids(struct page_builder *builder, const struct point_id *from,
                            struct error *error) {
    struct reader *reader = builder->reader;
    uint8_t bytes[POINT_ID_KEY_MAX];
    MDB_cursor *cursor;
    MDB_val key = {0, bytes}, value;
    int code = mdb_cursor_open(reader->rows.txn, reader->rows.dbis[COLLECTION_DBI_POINTS], &cursor);
    if (code != 0)
        return lmdb_env_fail(error, code, "read the ids");
    if (from)
        key.mv_size = point_id_key(from, bytes);
    code = mdb_cursor_get(cursor, &key, &value, from ? MDB_SET_RANGE : MDB_FIRST);
    enum status status = STATUS_OK;
    while (code == 0 && status == STATUS_OK && !builder->page->has_next) {
        status = look_at(builder, &key, &value, error);
        if (status == STATUS_OK)
            status = reader_step(reader, 0, error);
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (status == STATUS_OK && code != 0 && code != MDB_NOTFOUND)
        status = lmdb_env_fail(error, code, "read the ids");
    return status;
}

/* ---- Collecting and sorting -------------------------------------------------------------------
 */

static int by_id(const void *left, const void *right) {
    return point_id_compare(&((const struct stored_row *)left)->id,
                            &((const struct stored_row *)right)->id);
}

static enum status collect(struct page_builder *builder, const struct point_id *from,
                           struct error *error) {
    struct reader *reader = builder->reader;
    const struct filter_plan *plan = builder->plan;
    size_t count = 0;
    struct stored_row *rows =
        arena_alloc(reader->options.arena, ((size_t)plan->count + 1) * sizeof(*rows));
    if (!rows)
        return error_set(error, STATUS_NO_MEMORY, "the request needs too much memory");
    for (size_t word = 0; word < ((size_t)plan->slot_end + 63) / 64; word++)
        for (uint64_t bits = plan->words[word]; bits != 0; bits &= bits - 1) {
            bool matches;
            uint32_t slot = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits);
            enum status status = reader_match(reader, builder->filter, plan->is_exact, slot,
                                              &rows[count], &matches, error);
            if (status == STATUS_OK)
                status = reader_step(reader, 0, error);
            if (status != STATUS_OK)
                return status;
            count += matches && (!from || point_id_compare(&rows[count].id, from) >= 0);
        }
    if (count > 1)
        qsort(rows, count, sizeof(*rows), by_id);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK && !builder->page->has_next; i++)
        status = add_row(builder, &rows[i], error);
    return status;
}

/* ---- The choice -------------------------------------------------------------------------------
 */

static bool is_walking_cheaper(const struct reader *reader, const struct filter_plan *plan,
                               size_t limit) {
    uint64_t points = reader->state.points;
    /* Ids to pass for limit + 1 matches, were they spread evenly. */
    double passed = ((double)limit + 1) * (double)points / (double)plan->count;
    if (passed > (double)points)
        passed = (double)points;
    return passed < COLLECT_COST * (double)plan->count;
}

enum status reader_scroll(struct reader *reader, const struct point_id *from, size_t limit,
                          const struct filter *filter, struct point_page *page,
                          struct error *error) {
    *page = (struct point_page){0};
    struct page_builder builder = {
        .reader = reader, .filter = filter, .limit = limit, .page = page};
    if (!filter)
        return walk_ids(&builder, from, error);
    struct filter_plan plan;
    uint32_t verifications = limit < UINT32_MAX - 1 ? (uint32_t)limit + 1 : 0;
    enum status status = reader_plan(reader, filter, verifications, &plan, error);
    if (status != STATUS_OK || plan.count == 0)
        return status;
    builder.plan = &plan;
    return is_walking_cheaper(reader, &plan, limit) ? walk_ids(&builder, from, error)
                                                    : collect(&builder, from, error);
}
