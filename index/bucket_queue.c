#include "index/bucket_queue.h"

#include <assert.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPARE_ENTRIES = 4096, /* beyond ef: of a bucket that many share. What is more is refused */
    CROWD = 64,           /* entries, and as many as a pool has, that may lie in one bucket */
    FINER_MIN = 4,        /* times narrower buckets that are worth it */
};

#define NONE UINT32_MAX

bool bucket_queue_reserve(struct bucket_queue *queue, size_t ef) {
    size_t capacity = ef + SPARE_ENTRIES;
    if (capacity <= queue->capacity)
        return true;
    struct bucket_queue_entry *entries = realloc(queue->entries, capacity * sizeof(*entries));
    if (!entries)
        return false;
    queue->entries = entries;
    queue->capacity = capacity;
    return true;
}

void bucket_queue_free(struct bucket_queue *queue) {
    free(queue->entries);
    *queue = (struct bucket_queue){0};
}

static float width_of(float low, float high) {
    return (high - low) / BUCKET_QUEUE_BUCKETS;
}

/* All buckets are open and empty. */
static void set_range(struct bucket_queue *queue, float low, float width) {
    queue->total = 0;
    queue->bound = queue->nearest = BUCKET_QUEUE_BUCKETS - 1;
    queue->low = low;
    queue->width = width;
    queue->buckets_per_distance = 1 / width;
    memset(queue->heads, 0xff, sizeof(queue->heads));
    memset(queue->counts, 0, sizeof(queue->counts));
    memset(queue->filled, 0, sizeof(queue->filled));
}

void bucket_queue_begin(struct bucket_queue *queue, size_t ef, float low, float high) {
    assert(ef + SPARE_ENTRIES <= queue->capacity && low <= high);
    float width = width_of(low, high);
    queue->ef = ef;
    queue->used = 0;
    queue->free = NONE;
    queue->crowded_at = 2 * ef + CROWD;
    set_range(queue, low,
              width >= FLT_MIN && width <= FLT_MAX ? width : 1); /* or all are as near */
}

static void set_filled(struct bucket_queue *queue, size_t bucket) {
    queue->filled[bucket / 64] |= UINT64_C(1) << bucket % 64;
}

static void clear_filled(struct bucket_queue *queue, size_t bucket) {
    queue->filled[bucket / 64] &= ~(UINT64_C(1) << bucket % 64);
}

/* Puts the entries of one bucket in front of those of another. */
static void move_bucket(struct bucket_queue *queue, size_t from, size_t to) {
    uint32_t head = queue->heads[from];
    queue->counts[to] += queue->counts[from];
    queue->counts[from] = 0;
    if (head == NONE)
        return;
    uint32_t last = head;
    while (queue->entries[last].next != NONE)
        last = queue->entries[last].next;
    queue->entries[last].next = queue->heads[to];
    queue->heads[to] = head;
    queue->heads[from] = NONE;
    clear_filled(queue, from);
    set_filled(queue, to);
}

static void empty_bucket(struct bucket_queue *queue, size_t bucket) {
    uint32_t entry = queue->heads[bucket];
    while (entry != NONE) {
        uint32_t next = queue->entries[entry].next;
        queue->entries[entry].next = queue->free;
        queue->free = entry;
        entry = next;
    }
    queue->heads[bucket] = NONE;
    clear_filled(queue, bucket);
}

/* Takes the entries back that lie in closed buckets. */
static void sweep(struct bucket_queue *queue) {
    for (size_t word = queue->bound / 64; word < BUCKET_QUEUE_WORDS; word++) {
        for (uint64_t bits = queue->filled[word]; bits != 0; bits &= bits - 1) {
            size_t bucket = word * 64 + (size_t)__builtin_ctzll(bits);
            if (bucket > queue->bound)
                empty_bucket(queue, bucket);
        }
    }
}

/* Doubles the range downwards: two buckets become one, and the lower half is free. */
static void widen(struct bucket_queue *queue) {
    const size_t half = BUCKET_QUEUE_BUCKETS / 2;
    sweep(queue);
    for (size_t to = BUCKET_QUEUE_BUCKETS; to-- > half;) {
        size_t from = 2 * (to - half);
        /* The farther one first, so that the nearer one leaves first. */
        if (from + 1 != to)
            move_bucket(queue, from + 1, to);
        move_bucket(queue, from, to);
    }
    queue->low -= queue->width * BUCKET_QUEUE_BUCKETS;
    queue->width *= 2;
    queue->buckets_per_distance /= 2;
    queue->bound = half + queue->bound / 2;
    queue->nearest = half;
}

static size_t bucket_of(const struct bucket_queue *queue, float distance) {
    const float last = BUCKET_QUEUE_BUCKETS - 1;
    float place = (distance - queue->low) * queue->buckets_per_distance;
    place = place < last ? place : last;
    place = place > 0 ? place : 0;
    return (size_t)(int)place;
}

static void put(struct bucket_queue *queue, uint32_t entry, size_t bucket) {
    queue->entries[entry].next = queue->heads[bucket];
    queue->heads[bucket] = entry;
    queue->counts[bucket]++;
    set_filled(queue, bucket);
    queue->nearest = bucket < queue->nearest ? bucket : queue->nearest;
}

/* Closes buckets that are too far. Their entries stay where they are until room is wanted, which is
 * seldom: to take them back one by one costs more than all else here. */
static void close_buckets(struct bucket_queue *queue) {
    /* Locals: most buckets are empty, and a bound in memory takes several times as long. */
    size_t bound = queue->bound, total = queue->total;
    while (bound > 0 && total - queue->counts[bound] >= queue->ef) {
        total -= queue->counts[bound];
        queue->counts[bound--] = 0;
    }
    queue->bound = bound;
    queue->total = total;
}

/* The entries of open buckets, which are left empty, as one list; the range of their distances. Of
 * those that left, how many each bucket has. */
static uint32_t take_all(struct bucket_queue *queue, float *low, float *high, uint32_t *left) {
    uint32_t all = NONE;
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t bucket = 0; bucket <= queue->bound; bucket++) {
        left[bucket] = queue->counts[bucket];
        for (uint32_t entry = queue->heads[bucket], next; entry != NONE; entry = next) {
            struct bucket_queue_entry *at = &queue->entries[entry];
            next = at->next;
            at->next = all;
            all = entry;
            left[bucket]--;
            *low = at->distance < *low ? at->distance : *low;
            *high = at->distance > *high ? at->distance : *high;
        }
    }
    return all;
}

/* Spreads what is open over all buckets, if that tells more apart. Of what left only the bucket is
 * known: it counts in the middle of that. */
static void spread(struct bucket_queue *queue) {
    uint32_t left[BUCKET_QUEUE_BUCKETS];
    float low, high, old_low = queue->low, old_width = queue->width;
    size_t old_bound = queue->bound;
    sweep(queue);
    uint32_t entry = take_all(queue, &low, &high, left);
    low = fmaxf(low - 3 * (high - low), -FLT_MAX); /* as a walk begins */
    float width = width_of(low, high);
    if (!(width >= FLT_MIN && width * FINER_MIN <= old_width)) {
        low = old_low;
        width = old_width;
    }
    set_range(queue, low, width);
    for (uint32_t next; entry != NONE; entry = next, queue->total++) {
        next = queue->entries[entry].next;
        put(queue, entry, bucket_of(queue, queue->entries[entry].distance));
    }
    for (size_t bucket = 0; bucket <= old_bound; bucket++) {
        float middle = old_low + old_width * ((float)bucket + 0.5f);
        queue->counts[bucket_of(queue, middle)] += left[bucket];
        queue->total += left[bucket];
    }
    close_buckets(queue);
    /* What is as near cannot be told apart, however often it is tried. */
    size_t crowd = 2 * queue->ef + CROWD, twice = 2 * queue->total;
    queue->crowded_at = crowd > twice ? crowd : twice;
}

/* Entries that were never taken come first: which it will be is easily guessed. */
static uint32_t take_entry(struct bucket_queue *queue) {
    if (queue->used < queue->capacity)
        return (uint32_t)queue->used++;
    if (queue->free == NONE)
        sweep(queue);
    uint32_t entry = queue->free;
    if (entry != NONE)
        queue->free = queue->entries[entry].next;
    return entry;
}

void bucket_queue_push(struct bucket_queue *queue, const uint32_t *slots, const float *distances,
                       size_t count) {
    size_t came = 0;
    for (size_t i = 0; i < count; i++) {
        for (int doublings = 0; distances[i] < queue->low && doublings < 64; doublings++)
            widen(queue);
        size_t bucket = bucket_of(queue, distances[i]);
        if (bucket > queue->bound)
            continue;
        uint32_t entry = take_entry(queue);
        if (entry == NONE)
            continue;
        queue->entries[entry] =
            (struct bucket_queue_entry){.slot = slots[i], .distance = distances[i]};
        put(queue, entry, bucket);
        came++;
    }
    queue->total += came;
    close_buckets(queue);
    if (queue->total > queue->crowded_at)
        spread(queue);
}

bool bucket_queue_pop(struct bucket_queue *queue, uint32_t *slot) {
    size_t word = queue->nearest / 64;
    uint64_t bits = queue->filled[word] & UINT64_MAX << queue->nearest % 64;
    while (bits == 0 && ++word < BUCKET_QUEUE_WORDS)
        bits = queue->filled[word];
    if (bits == 0)
        return false;
    size_t bucket = word * 64 + (size_t)__builtin_ctzll(bits);
    if (bucket > queue->bound)
        return false;
    queue->nearest = bucket;
    uint32_t entry = queue->heads[bucket];
    *slot = queue->entries[entry].slot;
    queue->heads[bucket] = queue->entries[entry].next;
    if (queue->heads[bucket] == NONE)
        clear_filled(queue, bucket);
    queue->entries[entry].next = queue->free;
    queue->free = entry;
    return true;
}
