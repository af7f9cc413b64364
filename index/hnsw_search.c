/* From the pool of a walk to hits.
 *
 * More candidates than k are collected, for codes round. Those are measured exactly that may be
 * among the k nearest at all: at 384 dimensions one or two beyond k, of ten.
 */
#include "index/hnsw.h"

enum {
    POOL_MAX = 2 * VECTOR_INDEX_EF_MAX,
    SPARE_MIN = 10,      /* candidates measured beyond k, and at least half of k */
    PREFETCHED_MAX = 64, /* slots whose life is asked for before it is looked at */
    PILOT_EF = 64,
    POOL_GROWTH_MIN = 2, /* times the last pool: what a walk promises is an estimate */
    TWINS_MAX = 4096 /* followed from one slot: of more that are hits, not all are compared by id */
};

/* Candidates of the search, nearest first by code, not measured exactly yet. */
struct collection {
    struct search *search;
    size_t count; /* in scratch->rows */
    size_t wanted;
    size_t looked;    /* entries of the pool that were looked at */
    bool is_by_edges; /* the walk read the heads of nodes, and not what lies beside their codes */
    bool is_cut;      /* twins were left out of which it lacks some */
    bool is_enough;
};

/* Adds a slot that is visible, passes and was not added before. */
static void add(struct collection *found, struct hit hit) {
    struct search *search = found->search;
    if (search_is_visible(search, hit.slot) && search_passes(search, hit.slot) &&
        visited_add(&search->scratch->visited, hit.slot))
        search->scratch->rows.items[found->count++] = hit;
}

static bool is_twin(const struct hnsw *hnsw, uint32_t slot) {
    return store_kind(hnsw->store, slot) == STORE_TWIN;
}

/* Collects from the pool, each slot with its twins: they are as near. All twins of a slot are
 * taken, for which of them comes first is only known when they are measured. */
static bool collect(const struct hnsw *hnsw, const struct walk *walk, struct collection *found) {
    struct scratch_hits *rows = &found->search->scratch->rows;
    uint32_t limit = found->search->scratch->visited.capacity;
    for (size_t i = 0; i < walk->count && i < found->wanted && i < PREFETCHED_MAX; i++) {
        slots_prefetch(found->search->slots, walk->pool[i].slot);
        __builtin_prefetch(store_node(hnsw->store, walk->pool[i].slot));
    }
    for (size_t i = 0; i < walk->count && found->count < found->wanted; i++) {
        found->looked = i + 1;
        struct hit hit = walk->pool[i];
        if (!scratch_reserve_hits(rows, found->count + 1))
            return false;
        add(found, hit);
        uint32_t twin = hnsw_twins_first(hnsw, hit.slot);
        int n = 0;
        /* A twin may be linked anew meanwhile: what it holds then is no chain. */
        for (; n < TWINS_MAX && twin < limit && is_twin(hnsw, twin); n++) {
            if (found->count == rows->capacity && !scratch_reserve_hits(rows, rows->capacity * 2))
                return false;
            add(found, (struct hit){.slot = twin, .distance = hit.distance});
            twin = hnsw_twins_next(hnsw, twin);
        }
        found->is_cut |= n == TWINS_MAX && found->count < found->wanted;
    }
    return true;
}

/* Hits of the waiting slots may have been linked since: they are not to be found twice. */
static void mark_hits(struct visited *visited, const struct top_k *top) {
    visited_begin(visited);
    for (size_t i = 0; i < top->count; i++) {
        if (top->hits[i].slot < visited->capacity)
            visited_add(visited, top->hits[i].slot);
    }
}

/* How many times as large the pool would have to be for enough of it to be of use: about as many as
 * a walk of half the ef would hold, or of three quarters where nodes have edges: walks by those
 * expand fewer. At most 1: this one was large enough. */
static double times_missing(const struct collection *found, const struct walk *walk, size_t k,
                            size_t ef) {
    bool is_all = found->looked == walk->count;
    size_t least = walk->hnsw->store->edge_blocks > 0 ? ef - ef / 4 : ef / 2;
    double count = found->count > 0 ? (double)found->count : 0.5;
    double useful = count * (double)walk->ef / (double)(found->looked > 0 ? found->looked : 1);
    double for_pool = (double)least / useful;
    double for_hits = (double)(is_all ? k : found->wanted) / count;
    return for_pool > for_hits ? for_pool : for_hits;
}

/* Looks around the query before a walk that keeps to passing slots: where far fewer pass than
 * elsewhere (the filter shuns what the query is about) that walk would end in the wrong place. */
static bool passes_around(const struct hnsw_way *way, struct walk *walk, struct hit start) {
    size_t passing = 0, ef = walk->ef;
    walk->ef = ef < PILOT_EF ? ef : PILOT_EF;
    hnsw_walk_level(walk, start, 0);
    walk->ef = ef;
    for (size_t i = 0; i < walk->count; i++)
        passing += search_may_pass(walk->search, walk->pool[i].slot);
    return (double)passing >= way->share / 2 * (double)walk->count;
}

/* False if a walk that keeps to what passes would end in the wrong place. */
static bool walk_as(struct walk *walk, uint64_t entry, const struct hnsw_way *way) {
    if (!way->is_filtered) {
        hnsw_walk_nearest(walk, entry);
        return true;
    }
    struct hit start = hnsw_walk_descend(walk, entry, 0);
    if (!passes_around(way, walk, start))
        return false;
    hnsw_walk_filtered(walk, start, way->scored_max);
    return true;
}

/* Length of the first pool. Of a walk by edges those count that it expanded, half of the pool or
 * less: where so few would hold no k it would be walked in vain. How many they are is known of the
 * default ef, of which longer pools expand a smaller share, and much shorter ones nearly all. */
static double first_ef(const struct hnsw *hnsw, const struct hnsw_way *way, size_t k) {
    double ef = (double)way->walk_ef, per_ef = hnsw_walk_price(hnsw).scored_per_ef;
    double usual = per_ef * atomic_load_explicit(&hnsw->default_ef, memory_order_relaxed);
    double wanted = 2 * (double)k;
    if (hnsw->store->edge_blocks == 0 || way->is_filtered || wanted < usual)
        return ef;
    double needed = wanted / per_ef;
    return needed > ef && needed <= POOL_MAX ? needed : ef;
}

/* Walks with growing pools until enough of what is found is of use, or until all walks and the next
 * would cost about as much as a scan: then they end in vain. */
static enum status find(struct collection *found, const struct hnsw *hnsw,
                        const struct hnsw_way *way, const struct top_k *top) {
    struct search *search = found->search;
    struct index_scratch *scratch = search->scratch;
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    double spent = 0, ef = first_ef(hnsw, way, top->k);
    struct walk walk;
    if (found->is_by_edges)
        codes_query_edges(hnsw->space, &scratch->query);
    while (entry != HNSW_NO_ENTRY && ef <= POOL_MAX) {
        uint64_t before = search->scored;
        if (!scratch_reserve_hits(&scratch->rows, found->wanted + 1) ||
            !hnsw_walk_init(&walk, hnsw, scratch, (size_t)ef))
            return STATUS_NO_MEMORY;
        walk.search = search;
        walk.kept_max = 2 * found->wanted * (walk.ef / way->ef + 1);
        if (!walk_as(&walk, entry, way))
            break;
        if (search->status != STATUS_OK)
            return search->status;
        mark_hits(&scratch->visited, top);
        found->count = found->looked = 0;
        found->is_cut = false;
        if (!collect(hnsw, &walk, found))
            return STATUS_NO_MEMORY;
        double times = times_missing(found, &walk, top->k, way->ef);
        found->is_enough = times <= 1 && !found->is_cut;
        double took = (double)(search->scored - before);
        spent += took;
        times = times > POOL_GROWTH_MIN ? times : POOL_GROWTH_MIN;
        /* Or the walk met all it can meet, but for twins that it does not follow. */
        if (found->is_enough || found->is_cut || !walk.was_full ||
            spent + took * times > (double)way->scored_max)
            break;
        ef *= times;
    }
    return STATUS_OK;
}

/* Drops candidates that lie so far beyond the first k, by their codes, that rounding does not
 * explain it. Without slack, as of Manhattan distances, all stay. */
static void drop_far(struct collection *found, size_t k) {
    const struct search *search = found->search;
    struct hit *hits = search->scratch->rows.items;
    float limit = -INFINITY;
    size_t kept = 0;
    for (size_t i = 0; i < found->count; i++) {
        struct hit hit = hits[i];
        /* Where it lies in a near cache. */
        const struct code_meta *meta = found->is_by_edges
                                           ? &store_head(search->store, hit.slot)->meta
                                           : store_meta(search->store, hit.slot);
        float slack = codes_slack(search->space, &search->scratch->query, *meta, hit.distance);
        if (i < k)
            limit = hit.distance + slack > limit ? hit.distance + slack : limit;
        else if (hit.distance - slack > limit)
            continue;
        hits[kept++] = hit;
    }
    found->count = kept;
}

enum status hnsw_search(struct search *search, const struct hnsw *hnsw, const struct hnsw_way *way,
                        struct top_k *top, bool *is_complete) {
    size_t wanted = top->k + (top->k / 2 > SPARE_MIN ? top->k / 2 : SPARE_MIN);
    struct collection found = {.search = search,
                               .wanted = wanted < way->ef ? wanted : way->ef,
                               .is_by_edges = hnsw->store->edge_blocks > 0 && !way->is_filtered};
    enum status status = find(&found, hnsw, way, top);
    *is_complete = false;
    if (status != STATUS_OK || !found.is_enough)
        return status;
    drop_far(&found, top->k);
    search_measure(search, search->scratch->rows.items, found.count, top);
    *is_complete = top->count == top->k; /* or the owner lacks vectors */
    return search->status;
}
