#include "index/search.h"

#include <string.h>
#include <time.h>

enum {
    POLL_DISTANCES = 4096, /* between two looks at the clock: about 0.3 ms */
    FOUND = 4,             /* vectors that are looked up before they are measured */
};

bool search_begin(struct search *search) {
    const struct slot_filter *filter = search->query->filter;
    search->poll_at = 0;
    search->status = STATUS_OK;
    if (!filter || !filter->matches)
        return true;
    size_t words = bitmap_words(filter->slot_end);
    if (!scratch_reserve_words(&search->scratch->asked, words) ||
        !scratch_reserve_words(&search->scratch->passed, words))
        return false;
    if (words > 0) {
        memset(search->scratch->asked.words, 0, words * sizeof(uint64_t));
        memset(search->scratch->passed.words, 0, words * sizeof(uint64_t));
    }
    return true;
}

bool search_passes(struct search *search, uint32_t slot) {
    const struct slot_filter *filter = search->query->filter;
    if (!search_may_pass(search, slot))
        return false;
    if (!filter || !filter->matches)
        return true;
    uint64_t *asked = search->scratch->asked.words, *passed = search->scratch->passed.words;
    if (!bitmap_test(asked, slot)) {
        bitmap_set(asked, slot);
        if (filter->matches(filter->context, slot))
            bitmap_set(passed, slot);
    }
    return bitmap_test(passed, slot);
}

/* Looks up a vector that will be measured soon and asks for its ends: it lies anywhere in memory,
 * and to find its pages takes as long as a line of it. The rest is asked for while the one before
 * is measured: a core waits for some two dozen lines at once, and stands still if it is to ask for
 * more. */
static const float *find(struct search *search, uint32_t slot) {
    const float *vector = search->owner->vector(search->owner->context, slot);
    if (vector) {
        __builtin_prefetch(vector);
        __builtin_prefetch(vector + search->space->dimension - 1);
    }
    return vector;
}

bool search_measure(struct search *search, const struct hit *rows, size_t count,
                    struct top_k *top) {
    const float *vectors[FOUND], *query = search->query->vector;
    for (size_t i = 0; i < count && i < FOUND; i++)
        vectors[i] = find(search, rows[i].slot);
    for (size_t i = 0; i < count && !search_is_over(search); i++) {
        const float *vector = vectors[i % FOUND];
        if (i + FOUND < count)
            vectors[i % FOUND] = find(search, rows[i + FOUND].slot);
        if (!vector) {
            search->missing++;
            continue;
        }
        const float *next = i + 1 < count ? vectors[(i + 1) % FOUND] : NULL;
        float distance = distance_before(search->distance, query, vector, search->space->dimension,
                                         next ? next : vector);
        search->scored++;
        top_k_offer(top, (struct hit){.slot = rows[i].slot, .distance = distance});
    }
    return search->status == STATUS_OK;
}

static uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool search_is_over(struct search *search) {
    const struct index_query *query = search->query;
    if (search->status != STATUS_OK)
        return true;
    if (search->scored < search->poll_at)
        return false;
    search->poll_at = search->scored + POLL_DISTANCES;
    if (query->cancelled && atomic_load_explicit(query->cancelled, memory_order_relaxed))
        search->status = STATUS_CANCELLED;
    else if (query->deadline_ns && monotonic_ns() > query->deadline_ns)
        search->status = STATUS_TIMEOUT;
    return search->status != STATUS_OK;
}
