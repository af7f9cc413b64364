#include "index/hits.h"

#include <stdlib.h>
#include <string.h>

enum {
    BUCKETS = 256,
    SPREAD_MAX = 2048, /* hits that are sorted by way of buckets: they lie twice on the stack */
    CROWD_MAX = 64,    /* hits of a bucket, beyond which it tells too little */
    SAMPLE_MAX = 256,
};

/* Where hits go by distance: bucket (distance - low) * per_unit. */
struct buckets {
    float low, per_unit;
    uint32_t counts[BUCKETS];
};

/* What is no number, as the difference of two infinities, goes first. */
static inline unsigned bucket_of(const struct buckets *buckets, float distance) {
    float place = (distance - buckets->low) * buckets->per_unit;
    place = place > 0 ? place : 0;
    return (unsigned)(place < BUCKETS - 1 ? place : BUCKETS - 1);
}

static void spread(struct buckets *buckets, const struct hit *hits, size_t count) {
    float low = hits[0].distance, high = low;
    for (size_t i = 1; i < count; i++) {
        float distance = hits[i].distance;
        low = distance < low ? distance : low;
        high = distance > high ? distance : high;
    }
    buckets->low = low;
    buckets->per_unit = high > low ? (BUCKETS - 1) / (high - low) : 0;
    memset(buckets->counts, 0, sizeof(buckets->counts));
    for (size_t i = 0; i < count; i++)
        buckets->counts[bucket_of(buckets, hits[i].distance)]++;
}

static bool is_before(struct hit a, struct hit b) {
    return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot);
}

static int by_distance(const void *left, const void *right) {
    const struct hit *a = left, *b = right;
    return is_before(*a, *b) ? -1 : is_before(*b, *a);
}

/* The first place of each bucket; false if one of them is crowded. */
static bool lay_out(const struct buckets *buckets, size_t *places) {
    size_t place = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        if (buckets->counts[i] > CROWD_MAX)
            return false;
        places[i] = place;
        place += buckets->counts[i];
    }
    return true;
}

void hits_sort(struct hit *hits, size_t count) {
    struct buckets buckets;
    struct hit unsorted[SPREAD_MAX];
    size_t places[BUCKETS];
    if (count < 2)
        return;
    if (count <= SPREAD_MAX)
        spread(&buckets, hits, count);
    if (count > SPREAD_MAX || !lay_out(&buckets, places)) {
        qsort(hits, count, sizeof(hits[0]), by_distance);
        return;
    }
    memcpy(unsorted, hits, count * sizeof(hits[0]));
    for (size_t i = 0; i < count; i++)
        hits[places[bucket_of(&buckets, unsorted[i].distance)]++] = unsorted[i];
    for (size_t i = 1; i < count; i++) { /* none has far to go: its bucket is the right one */
        struct hit hit = hits[i];
        size_t at = i;
        for (; at > 0 && is_before(hit, hits[at - 1]); at--)
            hits[at] = hits[at - 1];
        hits[at] = hit;
    }
}

/* How far the `max` nearest of the hits reach, judged by every few of them. */
static float sample_limit(const struct hit *hits, size_t count, size_t max) {
    struct hit sample[SAMPLE_MAX];
    struct buckets buckets;
    size_t stride = (count + SAMPLE_MAX - 1) / SAMPLE_MAX, sample_count = 0;
    do
        sample[sample_count] = hits[sample_count * stride];
    while (++sample_count * stride < count);
    spread(&buckets, sample, sample_count);
    if (buckets.per_unit <= 0)
        return buckets.low;
    unsigned bucket = 0;
    size_t before = buckets.counts[0] * stride;
    while (before < max && bucket < BUCKETS - 1)
        before += buckets.counts[++bucket] * stride;
    return buckets.low + (float)(bucket + 1) / buckets.per_unit;
}

size_t hits_thin_out(struct hit *hits, size_t count, size_t max, float *limit) {
    size_t kept = 0;
    if (count <= max)
        return count;
    *limit = sample_limit(hits, count, max);
    for (size_t i = 0; i < count; i++) {
        struct hit hit = hits[i];
        hits[kept] = hit;
        kept += hit.distance <= *limit;
    }
    if (kept <= 2 * max)
        return kept;
    qsort(hits, kept, sizeof(hits[0]), by_distance); /* most of them are equally far */
    *limit = hits[max - 1].distance;
    return max;
}
