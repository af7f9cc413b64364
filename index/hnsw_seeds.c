/* Seeds: slots far from everything, at which each walk of level 0 looks once as it begins.
 *
 * A slot far outside of a tight cluster is known to one or two of its members only, and from afar
 * all members are equally near, the more so as codes round: a pool full of them never meets the
 * member that knows the way. No list of the graph can cure that, for each has far more near
 * neighbours than places. There are few such slots, so they are kept aside.
 *
 * A slot is far if a neighbour is several times as distant as the nearer ones of that neighbour's
 * own neighbours: a local outlier factor (Breunig et al. 2000). Two neighbours are asked: the
 * middle one, so that a handful of slots far out together is far, too, and the nearest, for the
 * list of a slot that was there before the others may lead to other far ones. Where all places are
 * taken, those stay that are the farthest.
 *
 * Threads: places are atomic and read by any walk; builders and repair change them under the lock.
 * A slot that leaves is dropped while repair holds the gate alone, and after that no builder is
 * left that has not seen the mark.
 */
#include "index/hnsw_links.h"

#include <float.h>
#include <math.h>

enum {
    OWN_STRIDE = 2,       /* for a first look one in so many of a list's places is enough ... */
    STRIDE = 4,           /* ... and of a neighbour's list */
    SAMPLES = 64,         /* slots that tell what distances are common */
    SEARCHED_MIN = 256,   /* slots that are linked anew at most, or ... */
    SEARCHED_SHARE = 100, /* ... a share 1 / so many of all */
    EXAMINE_SHARE = 2, /* all are examined anew once a share 1 / so many was linked or unlinked */
    PIECE_SLOTS = 512, /* of that, some half a millisecond */
};

static const float far_min = 3; /* middle neighbours of common data lie within a factor of 2 */

void hnsw_seeds_init(struct hnsw_seeds *seeds) {
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++)
        atomic_init(&seeds->slots[i], SLOT_NONE);
    atomic_init(&seeds->used, 0);
    atomic_init(&seeds->changes, 0);
    pthread_mutex_init(&seeds->lock, NULL);
}

void hnsw_seeds_free(struct hnsw_seeds *seeds) {
    pthread_mutex_destroy(&seeds->lock);
}

static bool is_member(const struct store *store, uint32_t slot) {
    return store_is_linked(store, slot) && !store_is_leaving(store, slot);
}

/* Distances of codes as lengths that can be divided by one another. */
static float length_between(const struct hnsw *hnsw, uint32_t a, uint32_t b, float distance) {
    double square = (double)distance;
    if (hnsw->space->metric == CODE_METRIC_L1)
        return distance;
    if (hnsw->space->metric == CODE_METRIC_DOT) {
        double x = (double)store_meta(hnsw->store, a)->length;
        double y = (double)store_meta(hnsw->store, b)->length;
        square = x * x + y * y + 2 * square;
    }
    return square > 0 ? (float)sqrt(square) : 0; /* rounding may leave less than 0 */
}

/* Measures the batch from the slot; distances become lengths. */
static void measure(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    struct code_batch *batch = &scratch->pair_batch;
    codes_query_row(hnsw->space, store_code(hnsw->store, slot), *store_meta(hnsw->store, slot),
                    &scratch->node);
    codes_distances(hnsw->space, &scratch->node, batch);
    for (size_t i = 0; i < batch->count; i++)
        batch->distances[i] = length_between(hnsw, slot, batch->slots[i], batch->distances[i]);
}

struct neighbours {
    struct hit nearest, middle; /* by length; fillers count */
    float quarter;              /* to which a quarter of them are as near */
    size_t count;
};

/* False if there are none. */
static bool look_at(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                    uint32_t stride, struct neighbours *seen) {
    const _Atomic uint32_t *list = store_links(hnsw->store, slot);
    uint32_t places = hnsw->store->link_count;
    struct code_batch *batch = &scratch->pair_batch;
    struct hit hits[HNSW_PLACES_MAX];
    batch->count = 0;
    for (uint32_t i = 0; i < places; i += stride) {
        uint32_t link = hnsw_link_load(list, i);
        if (link != SLOT_NONE)
            search_batch_add(hnsw->store, batch, hnsw_link_slot(link));
    }
    if (batch->count == 0)
        return false;
    measure(hnsw, scratch, slot);
    for (size_t i = 0; i < batch->count; i++)
        hits[i] = (struct hit){.slot = batch->slots[i], .distance = batch->distances[i]};
    hnsw_links_sort(hits, batch->count);
    *seen = (struct neighbours){.nearest = hits[0],
                                .middle = hits[batch->count / 2],
                                .quarter = hits[batch->count / 4].distance,
                                .count = batch->count};
    return true;
}

/* How many times as far the neighbour is as its own neighbours; 0 if they are too few to tell. */
static float measure_from(const struct hnsw *hnsw, struct index_scratch *scratch,
                          struct hit neighbour, uint32_t stride) {
    struct neighbours beyond;
    if (!look_at(hnsw, scratch, neighbour.slot, stride, &beyond) ||
        beyond.count * stride < hnsw->store->link_count / 2)
        return 0;
    /* Codes tell nothing about what is nearer than they round. */
    float rounding = *store_error(hnsw->store, neighbour.slot);
    float spread = beyond.quarter > rounding ? beyond.quarter : rounding;
    return spread > 0 ? neighbour.distance / spread : neighbour.distance > 0 ? FLT_MAX : 0;
}

/* How far out the slot is that has these neighbours, in lengths that are common where they are. */
static float measure_out(const struct hnsw *hnsw, struct index_scratch *scratch,
                         const struct neighbours *seen, uint32_t stride) {
    float from_middle = measure_from(hnsw, scratch, seen->middle, stride);
    float from_nearest = measure_from(hnsw, scratch, seen->nearest, stride);
    return from_middle > from_nearest ? from_middle : from_nearest;
}

/* True if a seed lies so near that a walk which meets it goes on to the slot. */
static bool is_led_to(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                      float middle) {
    struct code_batch *batch = &scratch->pair_batch;
    batch->count = 0;
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) {
        uint32_t seed = hnsw_seeds_load(&hnsw->seeds, i);
        if (seed != SLOT_NONE && seed != slot)
            search_batch_add(hnsw->store, batch, seed);
    }
    measure(hnsw, scratch, slot);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->distances[i] * far_min < middle)
            return true;
    }
    return false;
}

/* Where the slot is, else an empty place, else that of the least isolated. Locked. */
static size_t find_place(const struct hnsw_seeds *seeds, uint32_t slot) {
    size_t empty = HNSW_SEEDS_MAX, least = 0;
    for (size_t i = HNSW_SEEDS_MAX; i-- > 0;) {
        uint32_t seed = hnsw_seeds_load(seeds, i);
        if (seed == slot)
            return i;
        if (seed == SLOT_NONE)
            empty = i;
        else if (seeds->isolation[i] < seeds->isolation[least])
            least = i;
    }
    return empty < HNSW_SEEDS_MAX ? empty : least;
}

static void store_seed(struct hnsw_seeds *seeds, size_t place, uint32_t slot, float isolation) {
    seeds->isolation[place] = isolation;
    atomic_store_explicit(&seeds->slots[place], slot, memory_order_release);
    if (place >= atomic_load_explicit(&seeds->used, memory_order_relaxed))
        atomic_store_explicit(&seeds->used, (uint32_t)place + 1, memory_order_release);
}

void hnsw_seeds_add(struct hnsw_seeds *seeds, uint32_t slot, float isolation) {
    pthread_mutex_lock(&seeds->lock);
    size_t place = find_place(seeds, slot);
    uint32_t seed = hnsw_seeds_load(seeds, place);
    if (seed == SLOT_NONE || seed == slot || isolation > seeds->isolation[place])
        store_seed(seeds, place, slot, isolation);
    pthread_mutex_unlock(&seeds->lock);
}

/* Adds the slot, which seemed to be far, if it is on a closer look. */
static void add_if_far(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    struct neighbours seen;
    if (!look_at(hnsw, scratch, slot, 1, &seen))
        return;
    float isolation = measure_out(hnsw, scratch, &seen, 1);
    if (isolation >= far_min && !is_led_to(hnsw, scratch, slot, seen.middle.distance))
        hnsw_seeds_add(&hnsw->seeds, slot, isolation);
}

void hnsw_seeds_examine(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot) {
    struct neighbours seen;
    if (is_member(hnsw->store, slot) && look_at(hnsw, scratch, slot, OWN_STRIDE, &seen) &&
        measure_out(hnsw, scratch, &seen, STRIDE) >= far_min)
        add_if_far(hnsw, scratch, slot);
}

void hnsw_seeds_examine_new(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                            const struct hnsw_candidates *found) {
    size_t count = hnsw->store->link_count < found->count ? hnsw->store->link_count : found->count;
    struct hit middle = found->hits[count / 2];
    middle.distance = length_between(hnsw, slot, middle.slot, middle.distance);
    /* These neighbours are the true ones: no need to ask the nearest, too. */
    if (measure_from(hnsw, scratch, middle, STRIDE) >= far_min)
        add_if_far(hnsw, scratch, slot);
}

/* Measures the seeds anew and drops those around which the graph has filled up. */
static void measure_seeds(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct hnsw_seeds *seeds = &hnsw->seeds;
    struct neighbours seen;
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) {
        uint32_t seed = hnsw_seeds_load(seeds, i);
        if (seed == SLOT_NONE)
            continue;
        bool is_known = look_at(hnsw, scratch, seed, 1, &seen);
        float isolation = is_known ? measure_out(hnsw, scratch, &seen, 1) : 0;
        pthread_mutex_lock(&seeds->lock);
        if (hnsw_seeds_load(seeds, i) == seed)
            store_seed(seeds, i, isolation >= far_min ? seed : SLOT_NONE, isolation);
        pthread_mutex_unlock(&seeds->lock);
    }
}

void hnsw_seeds_changed(struct hnsw_seeds *seeds, uint64_t slots) {
    atomic_fetch_add_explicit(&seeds->changes, slots, memory_order_relaxed);
}

/* The middle of the middle distances of slots here and there. */
static float sample_middle(const struct hnsw *hnsw, struct index_scratch *scratch) {
    struct hit samples[SAMPLES];
    struct neighbours seen;
    size_t count = 0;
    uint64_t end = atomic_load_explicit(&hnsw->store->present_count, memory_order_relaxed);
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint32_t slot = (uint32_t)(end * i / SAMPLES);
        if (is_member(hnsw->store, slot) && look_at(hnsw, scratch, slot, OWN_STRIDE, &seen))
            samples[count++] = seen.middle;
    }
    hnsw_links_sort(samples, count);
    return count > 0 ? samples[count / 2].distance : FLT_MAX;
}

/* Examines a slot; returns whether it was linked anew before: a slot that was there before most
 * others and seems to stand alone may know none of those that came nearer. */
static bool examine_again(struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                          float lonely_min) {
    struct neighbours seen;
    if (!look_at(hnsw, scratch, slot, OWN_STRIDE, &seen))
        return false;
    bool is_lonely = seen.middle.distance > lonely_min;
    if (is_lonely)
        hnsw_links_reconnect(hnsw, scratch, slot);
    if (is_lonely || measure_out(hnsw, scratch, &seen, STRIDE) >= far_min)
        add_if_far(hnsw, scratch, slot);
    return is_lonely;
}

void hnsw_seeds_refresh(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct hnsw_seeds *seeds = &hnsw->seeds;
    uint64_t changes = atomic_load_explicit(&seeds->changes, memory_order_relaxed);
    uint64_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    /* One of several builders takes it on. */
    if (changes == 0 || changes < linked / EXAMINE_SHARE ||
        !atomic_compare_exchange_strong(&seeds->changes, &changes, 0))
        return;
    measure_seeds(hnsw, scratch);
    float lonely_min = far_min * sample_middle(hnsw, scratch);
    uint64_t left = linked / SEARCHED_SHARE > SEARCHED_MIN ? linked / SEARCHED_SHARE : SEARCHED_MIN;
    for (uint32_t slot = 0; slot < store_end(hnsw->store); slot++) {
        if (slot % PIECE_SLOTS == 0)
            hnsw_pause(hnsw, scratch);
        if (is_member(hnsw->store, slot))
            left -= examine_again(hnsw, scratch, slot, left > 0 ? lonely_min : INFINITY);
    }
}

void hnsw_seeds_drop_unlinked(struct hnsw *hnsw) {
    struct hnsw_seeds *seeds = &hnsw->seeds;
    pthread_mutex_lock(&seeds->lock);
    for (size_t i = 0; i < HNSW_SEEDS_MAX; i++) {
        uint32_t seed = hnsw_seeds_load(seeds, i);
        if (seed != SLOT_NONE && !is_member(hnsw->store, seed))
            atomic_store_explicit(&seeds->slots[i], SLOT_NONE, memory_order_release);
    }
    pthread_mutex_unlock(&seeds->lock);
}

bool hnsw_seeds_has(const struct hnsw_seeds *seeds, uint32_t slot) {
    uint32_t used = atomic_load_explicit(&seeds->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        if (hnsw_seeds_load(seeds, i) == slot)
            return true;
    }
    return false;
}
