#include "index/vector_index.h"

#include "index/edges.h"
#include "index/epoch.h"
#include "index/flat.h"
#include "index/hnsw.h"
#include "index/image.h"
#include "index/plan.h"
#include "index/prices.h"

#include <assert.h>
#include <stdlib.h>

enum {
    M_DEFAULT = 16,
    M_MIN = 4, /* a twin keeps three numbers in its list of 2 m places */
    EF_CONSTRUCT_MIN = 200,
    TURBO_DIMENSION_MIN = 16,     /* from which edges are worth four times the memory */
    TWO_BITS_DIMENSION_MAX = 256, /* up to which two bits are faster than one: docs/ENGINE.md */
};

struct vector_index {
    struct vector_index_options options;
    struct slots *slots; /* borrowed */
    struct code_space space;
    struct store store;
    struct hnsw hnsw;
    struct epoch epoch;
    struct image_rest rest;     /* one builder at a time, as are the next two */
    uint64_t image_base;        /* see struct image */
    uint64_t short_epoch;       /* when short records (store.h) were used last; 0: they are still */
    struct code_query encoding; /* the writer's memory for encoding */
};

static const struct {
    const char *name;
    uint32_t edge_bits; /* 0: none, or to be chosen */
} profiles[INDEX_PROFILE_COUNT] = {
    [INDEX_PROFILE_AUTO] = {.name = "auto"},
    [INDEX_PROFILE_LEAN] = {.name = "lean"},
    [INDEX_PROFILE_TURBO] = {.name = "turbo"},
    [INDEX_PROFILE_TURBO_1_BIT] = {.name = "turbo-1-bit", .edge_bits = 1},
    [INDEX_PROFILE_TURBO_2_BITS] = {.name = "turbo-2-bits", .edge_bits = 2},
    [INDEX_PROFILE_TURBO_4_BITS] = {.name = "turbo-4-bits", .edge_bits = 4},
};

const char *index_profile_name(enum index_profile profile) {
    return profiles[profile].name;
}

/* Bits a coordinate of edges, 0 for none. The dimension decides: it must be known before records
 * are laid out, that is before the first vector; what samples of vectors add would be a tenth of
 * speed near the border. */
static uint32_t choose_edge_bits(const struct vector_index_options *options) {
    if (options->distance == DISTANCE_MANHATTAN || options->dimension < TURBO_DIMENSION_MIN ||
        options->profile == INDEX_PROFILE_LEAN)
        return 0;
    uint32_t told = profiles[options->profile].edge_bits;
    return told > 0 ? told : options->dimension <= TWO_BITS_DIMENSION_MAX ? 2 : 1;
}

static bool init_store(struct vector_index *index, uint32_t places) {
    const struct store_layout layout = {.code_bytes = index->space.width,
                                        .link_count = places,
                                        .edge_block_bytes = edges_block_bytes(&index->space)};
    return store_init(&index->store, &layout);
}

enum status vector_index_create(const struct vector_index_options *options, struct slots *slots,
                                struct vector_index **out, struct error *error) {
    if (options->dimension == 0 || options->dimension > VECTOR_DIMENSION_MAX)
        return error_set(error, STATUS_INVALID, "a vector has from 1 to %d numbers",
                         VECTOR_DIMENSION_MAX);
    if (options->m > VECTOR_INDEX_M_MAX)
        return error_set(error, STATUS_INVALID, "m must be at most %d", VECTOR_INDEX_M_MAX);
    struct vector_index *index = calloc(1, sizeof(*index));
    if (!index)
        return error_set(error, STATUS_NO_MEMORY, "out of memory for an index");
    index->options = *options;
    index->slots = slots;
    uint32_t m = options->m == 0 ? M_DEFAULT : options->m < M_MIN ? M_MIN : options->m;
    uint32_t ef = options->ef_construct;
    index->hnsw.m = m;
    index->hnsw.ef_construct = ef < EF_CONSTRUCT_MIN      ? EF_CONSTRUCT_MIN
                               : ef > HNSW_CANDIDATES_MAX ? HNSW_CANDIDATES_MAX
                                                          : ef;
    hnsw_init(&index->hnsw, &index->store, &index->space);
    epoch_init(&index->epoch);
    bool has_space = codes_space_init(&index->space, options->distance, options->dimension);
    index->space.edge_bits = choose_edge_bits(options);
    if (index->space.edge_bits == 0) /* walks by edges read of each code all */
        codes_space_split(&index->space);
    if (!has_space || !init_store(index, 2 * m) ||
        !codes_query_reserve(&index->encoding, index->space.width)) {
        vector_index_free(index);
        return error_set(error, STATUS_NO_MEMORY, "out of memory for an index");
    }
    *out = index;
    return STATUS_OK;
}

void vector_index_free(struct vector_index *index) {
    if (!index)
        return;
    image_rest_free(&index->rest);
    hnsw_free(&index->hnsw);
    store_free(&index->store);
    codes_space_free(&index->space);
    codes_query_free(&index->encoding);
    free(index);
}

enum status vector_index_reserve(struct vector_index *index, uint32_t slot_end,
                                 struct error *error) {
    if (slot_end > SLOT_MAX)
        return error_set(error, STATUS_TOO_LARGE, "an index holds at most %u slots", SLOT_MAX);
    if (!store_reserve(&index->store, slot_end))
        return error_set(error, STATUS_NO_MEMORY, "out of memory for %u vectors", slot_end);
    return STATUS_OK;
}

void vector_index_put(struct vector_index *index, uint32_t slot, const float *vector,
                      uint64_t key) {
    assert(slot < store_end(&index->store));
    struct code_row row = {.code = store_code(&index->store, slot),
                           .meta = store_meta(&index->store, slot),
                           .error = store_error(&index->store, slot)};
    store_prepare(&index->store, slot);
    codes_encode(&index->space, vector, &index->encoding, &row);
    store_put(&index->store, slot, hnsw_level(&index->hnsw, key));
}

bool vector_index_has(const struct vector_index *index, uint32_t slot) {
    return store_is_present(&index->store, slot);
}

/* ---- Searching --------------------------------------------------------------------------------
 */

/* How many rows could pass at most: what memory for k hits follows. */
static uint64_t rows_max(const struct vector_index *index, const struct index_query *query) {
    uint64_t rows = atomic_load_explicit(&index->store.present_count, memory_order_relaxed);
    const struct slot_filter *filter = query->filter;
    return filter && filter->count < rows ? filter->count : rows;
}

static size_t wanted_ef(const struct vector_index *index, const struct index_query *query) {
    size_t ef =
        query->ef ? query->ef : atomic_load_explicit(&index->hnsw.default_ef, memory_order_relaxed);
    ef = ef < query->k ? query->k : ef;
    return ef < VECTOR_INDEX_EF_MAX ? ef : VECTOR_INDEX_EF_MAX;
}

static struct plan_answer choose_plan(const struct vector_index *index,
                                      const struct index_query *query, size_t together) {
    uint64_t rows = rows_max(index, query);
    const struct slot_filter *filter = query->filter;
    const struct walk_price price = hnsw_walk_price(&index->hnsw);
    const struct plan_question question = {
        .rows = atomic_load_explicit(&index->store.present_count, memory_order_relaxed),
        .candidates = rows,
        .passing = filter && filter->estimate < rows ? filter->estimate : rows,
        .ef = wanted_ef(index, query),
        .width = index->space.width,
        .places = index->store.link_count,
        .scored_per_ef = price.scored_per_ef,
        .scored_ns = price.scored_ns,
        .has_filter = filter != NULL,
        .together = together,
        .wanted = query->plan};
    if (query->exact || query->k > VECTOR_INDEX_EF_MAX ||
        atomic_load_explicit(&index->hnsw.entry, memory_order_relaxed) == HNSW_NO_ENTRY ||
        (query->plan == INDEX_PLAN_CHEAPEST && rows <= index->options.full_scan_rows))
        return (struct plan_answer){.plan = INDEX_PLAN_EXACT};
    return plan_choose(&question);
}

static enum status search_graph(const struct vector_index *index, struct search *search,
                                const struct plan_answer *plan, struct top_k *top,
                                bool *is_complete) {
    const struct index_query *query = search->query;
    const struct hnsw_way way = {.ef = wanted_ef(index, query),
                                 .walk_ef = plan->ef,
                                 .is_filtered = plan->plan == INDEX_PLAN_FILTERED_GRAPH,
                                 .share = plan->share,
                                 .scored_max = plan->scored_max};
    uint64_t released = atomic_load(&index->hnsw.released);
    /* The waiting rows first: one that is linked meanwhile is then found by the walk. */
    if (!query->indexed_only) {
        struct flat_lane lane = flat_lane_of(search, top);
        enum status status = flat_scan(search, FLAT_WAITING, &lane, 1);
        if (status != STATUS_OK)
            return status;
    }
    enum status status = hnsw_search(search, &index->hnsw, &way, top, is_complete);
    /* Twins went the other way: neither may have met them. */
    *is_complete &= released % 2 == 0 && atomic_load(&index->hnsw.released) == released;
    return status;
}

static enum status run(const struct vector_index *index, struct search *search,
                       struct index_answer *answer) {
    const struct index_query *query = search->query;
    uint64_t rows = rows_max(index, query), k = query->k < rows ? query->k : rows;
    *answer = (struct index_answer){.plan = INDEX_PLAN_EXACT};
    if (k == 0)
        return STATUS_OK;
    const struct plan_answer plan = choose_plan(index, query, 1);
    answer->plan = plan.plan;
    if (!search_begin(search) ||
        !scratch_reserve(search->scratch, store_end(search->store), search->space->width) ||
        !scratch_reserve_hits(&search->scratch->found, k))
        return STATUS_NO_MEMORY;
    codes_query_vector(search->space, query->vector, &search->scratch->query);

    struct top_k top;
    bool is_complete = false;
    enum status status = STATUS_OK;
    top_k_init(&top, search->scratch->found.items, k);
    top_k_break_ties(&top, search->owner->compare, search->owner->context);
    if (answer->plan != INDEX_PLAN_EXACT)
        status = search_graph(index, search, &plan, &top, &is_complete);
    if (status == STATUS_OK && !is_complete) {
        answer->plan = INDEX_PLAN_EXACT;
        top.count = 0;
        struct flat_lane lane = flat_lane_of(search, &top);
        status = flat_scan(search, query->indexed_only ? FLAT_LINKED : FLAT_ALL, &lane, 1);
    }
    top_k_finish(&top);
    answer->hits = top.hits;
    answer->count = top.count;
    answer->scored = search->scored;
    answer->halved = search->halved;
    return status;
}

static struct search begin_search(const struct vector_index *index, const struct index_query *query,
                                  const struct vector_owner *owner, struct index_scratch *scratch) {
    return (struct search){.store = &index->store,
                           .space = &index->space,
                           .slots = index->slots,
                           .distance = index->options.distance,
                           .query = query,
                           .owner = owner,
                           .scratch = scratch};
}

/* Says why a search failed. */
static enum status tell(enum status status, struct error *error) {
    if (status == STATUS_NO_MEMORY)
        return error_set(error, status, "out of memory for a search");
    if (status == STATUS_TIMEOUT)
        return error_set(error, status, "the search did not end before its deadline");
    if (status == STATUS_CANCELLED)
        return error_set(error, status, "the search was cancelled");
    return status;
}

enum status vector_index_search(struct vector_index *index, const struct index_query *query,
                                const struct vector_owner *owner, struct index_scratch *scratch,
                                struct index_answer *answer, struct error *error) {
    struct search search = begin_search(index, query, owner, scratch);
    assert(query->k >= 1);
    uint32_t place = epoch_enter(&index->epoch);
    enum status status = run(index, &search, answer);
    epoch_leave(&index->epoch, place);
    return tell(status, error);
}

enum index_plan vector_index_plan(const struct vector_index *index, const struct index_query *query,
                                  size_t together) {
    return choose_plan(index, query, together).plan;
}

/* Makes a lane for a query out of the scratch's memory. */
static bool begin_lane(const struct search *search, const struct index_query *query,
                       struct scratch_lane *memory, struct top_k *top, struct flat_lane *lane) {
    if (!scratch_reserve_hits(&memory->found, top->k))
        return false;
    top_k_init(top, memory->found.items, top->k);
    top_k_break_ties(top, search->owner->compare, search->owner->context);
    codes_query_vector(search->space, query->vector, &memory->query);
    *lane = (struct flat_lane){.query = query,
                               .code = &memory->query,
                               .rows = &memory->rows,
                               .heap = &memory->heap,
                               .top = top};
    return true;
}

/* Scans for all queries, of whose rows there are some. */
static enum status scan_together(struct search *search, const struct index_query *queries,
                                 size_t count, uint64_t rows, struct index_answer *answers) {
    struct index_scratch *scratch = search->scratch;
    struct flat_lane lanes[VECTOR_INDEX_TOGETHER_MAX];
    struct top_k tops[VECTOR_INDEX_TOGETHER_MAX];
    if (!search_begin(search) || !scratch_reserve_lanes(scratch, count, search->space->width))
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        tops[i].k = queries[i].k < rows ? queries[i].k : rows;
        if (!begin_lane(search, &queries[i], &scratch->lanes[i], &tops[i], &lanes[i]))
            return STATUS_NO_MEMORY;
    }
    enum flat_rows which = queries[0].indexed_only ? FLAT_LINKED : FLAT_ALL;
    enum status status = flat_scan(search, which, lanes, count);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        top_k_finish(&tops[i]);
        answers[i].hits = tops[i].hits;
        answers[i].count = tops[i].count;
        answers[i].scored = lanes[i].scored;
    }
    return status;
}

enum status vector_index_scan(struct vector_index *index, const struct index_query *queries,
                              size_t count, const struct vector_owner *owner,
                              struct index_scratch *scratch, struct index_answer *answers,
                              struct error *error) {
    struct search search = begin_search(index, queries, owner, scratch);
    enum status status = STATUS_OK;
    assert(count >= 1 && count <= VECTOR_INDEX_TOGETHER_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(queries[i].k >= 1 && queries[i].operation == queries[0].operation);
        assert(queries[i].filter == queries[0].filter);
        answers[i] = (struct index_answer){.plan = INDEX_PLAN_EXACT};
    }
    uint32_t place = epoch_enter(&index->epoch);
    uint64_t rows = rows_max(index, queries);
    if (rows > 0)
        status = scan_together(&search, queries, count, rows, answers);
    epoch_leave(&index->epoch, place);
    scratch_trim_lanes(scratch);
    return tell(status, error);
}

/* ---- Building ---------------------------------------------------------------------------------
 */

enum status vector_index_link(struct vector_index *index, uint32_t count,
                              struct index_scratch *scratch, uint32_t *linked,
                              struct error *error) {
    enum status status = STATUS_OK;
    prices_prepare(PRICES_ALL); /* here no client waits */
    uint32_t place = epoch_enter(&index->epoch);
    *linked = 0;
    for (bool is_linked = true; is_linked && *linked < count && status == STATUS_OK;) {
        status = hnsw_link(&index->hnsw, scratch, &is_linked, error);
        *linked += is_linked;
    }
    epoch_leave(&index->epoch, place);
    return status;
}

bool vector_index_refresh(struct vector_index *index, struct index_scratch *scratch) {
    uint32_t place = epoch_enter(&index->epoch);
    bool was_needed = hnsw_edges_refresh(&index->hnsw, scratch);
    epoch_leave(&index->epoch, place);
    return was_needed;
}

enum status vector_index_repair(struct vector_index *index, const uint32_t *dead, size_t dead_count,
                                struct index_scratch *scratch, struct error *error) {
    return hnsw_repair(&index->hnsw, dead, dead_count, scratch, error);
}

uint64_t vector_index_epoch_advance(struct vector_index *index) {
    return epoch_advance(&index->epoch);
}

bool vector_index_epoch_passed(const struct vector_index *index, uint64_t ended) {
    return epoch_passed(&index->epoch, ended);
}

void vector_index_info(const struct vector_index *index, struct vector_index_info *info) {
    *info = (struct vector_index_info){
        .linked_count = atomic_load_explicit(&index->hnsw.linked, memory_order_relaxed),
        .bulk_count = atomic_load_explicit(&index->hnsw.linked_in_bulk, memory_order_relaxed),
        .waiting_count = atomic_load_explicit(&index->store.waiting_count, memory_order_relaxed),
        .memory_bytes = store_memory_bytes(&index->store) +
                        upper_links_bytes((struct upper_links *)&index->hnsw.upper),
        .default_ef = atomic_load_explicit(&index->hnsw.default_ef, memory_order_relaxed),
        .profile = index->space.edge_bits > 0 ? INDEX_PROFILE_TURBO : INDEX_PROFILE_LEAN,
        .edge_bits = (uint32_t)index->space.edge_bits};
}

/* ---- Image ------------------------------------------------------------------------------------
 */

static struct image image_of(struct vector_index *index) {
    return (struct image){
        .hnsw = &index->hnsw, .distance = index->options.distance, .base = index->image_base};
}

enum index_image vector_index_image_due(const struct vector_index *index) {
    return image_due(&index->store, index->image_base);
}

enum status vector_index_save(struct vector_index *index, int fd, enum index_image kind,
                              const struct index_stamp *stamp, struct error *error) {
    struct image image = image_of(index);
    image.stamp = *stamp;
    while (image_read_edges(&index->rest, &index->hnsw)) {
    }
    enum status status = image_save(&image, kind, fd, error);
    index->image_base = image.base;
    return status;
}

void vector_index_forget_image(struct vector_index *index) {
    index->image_base = 0;
}

enum status vector_index_load(struct vector_index *index, const struct index_files *files,
                              struct index_stamp *stamp, struct error *error) {
    struct image image = image_of(index);
    enum status status = image_load(&image, files, &index->rest, error);
    *stamp = image.stamp;
    index->image_base = image.base;
    return status;
}

enum index_rest vector_index_settle(struct vector_index *index) {
    if (image_read_edges(&index->rest, &index->hnsw))
        return INDEX_REST_PIECES;
    if (!index->store.has_short)
        return INDEX_REST_NONE;
    if (index->short_epoch == 0)
        index->short_epoch = epoch_advance(&index->epoch);
    if (!epoch_passed(&index->epoch, index->short_epoch))
        return INDEX_REST_IN_USE;
    store_free_short(&index->store);
    return INDEX_REST_NONE;
}

enum status vector_index_check(const struct vector_index *index, struct error *error) {
    return hnsw_check(&index->hnsw, index->slots, error);
}
