/* bucket_queue.h -- the nodes that a walk still may expand, by estimated distance.
 *
 * Estimates are rough, so their order need not be exact: entries lie in buckets of equal width, the
 * last one in a bucket leaves it first, and every step takes constant time. A sorted pool costs
 * more than the estimates themselves.
 *
 * As in the pool of HNSW, the `ef` nearest entries seen so far decide how far the walk goes:
 * entries that left stay counted, and once ef entries lie in nearer buckets the farthest bucket is
 * closed. The range of distances is set from the first estimates; what is nearer than it doubles
 * it, and where more than a pool comes to lie in the farthest open bucket, what is open is spread
 * over all buckets: else a walk that began far away would go on and on.
 *
 * Scratch memory of one thread.
 */
#ifndef BUCKET_QUEUE_H
#define BUCKET_QUEUE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BUCKET_QUEUE_BUCKETS = 1024,
    BUCKET_QUEUE_WORDS = BUCKET_QUEUE_BUCKETS / 64,
};

struct bucket_queue_entry {
    uint32_t slot, next;
    float distance;
};

struct bucket_queue {
    struct bucket_queue_entry *entries; /* capacity of them; owned */
    size_t capacity, used;              /* entries from `used` on were never taken */
    uint32_t free;                      /* first of the entries that can be taken again */
    size_t ef, total;                   /* entries counted, in open buckets */
    size_t bound;                       /* the last open bucket */
    size_t nearest;                     /* no bucket before it has entries */
    float low;                          /* distance at which bucket 0 begins */
    float width, buckets_per_distance;  /* of a bucket, and 1 / width */
    size_t crowded_at;                  /* total from which on it is spread */
    uint32_t heads[BUCKET_QUEUE_BUCKETS];
    /* Of each bucket: entries that came, also those that left; 0 once it is closed. */
    uint32_t counts[BUCKET_QUEUE_BUCKETS];
    uint64_t filled[BUCKET_QUEUE_WORDS]; /* bit per bucket that has entries; also closed ones */
};

/* Room for searches with this ef; false when memory ends. A zeroed queue may be reserved, freed. */
bool bucket_queue_reserve(struct bucket_queue *queue, size_t ef);
void bucket_queue_free(struct bucket_queue *queue);

/* Empties it. Distances between low and high will be told apart; both finite, low <= high. ef is at
 * most what was reserved. */
void bucket_queue_begin(struct bucket_queue *queue, size_t ef, float low, float high);

/* True once the walk saw more than ef entries, so that some were refused. */
static inline bool bucket_queue_is_full(const struct bucket_queue *queue) {
    return queue->bound < BUCKET_QUEUE_BUCKETS - 1;
}

/* The distance from which on entries are refused. */
static inline float bucket_queue_limit(const struct bucket_queue *queue) {
    return bucket_queue_is_full(queue) ? queue->low + queue->width * (float)(queue->bound + 1)
                                       : INFINITY;
}

/* Adds entries, but for those beyond the limit, and moves that. Distances are numbers below
 * infinity. */
void bucket_queue_push(struct bucket_queue *queue, const uint32_t *slots, const float *distances,
                       size_t count);

/* Takes an entry of the nearest bucket; false if none is left. */
bool bucket_queue_pop(struct bucket_queue *queue, uint32_t *slot);

#endif
