#include "index/bucket_queue.h"

#include <assert.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPARE_ENTRIES = 4096, /* beyond ef: of a bucket that many share. What is more is refused */
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

void bucket_queue_begin(struct bucket_queue *queue, size_t ef, float low, float high) {
    assert(ef + SPARE_ENTRIES <= queue->capacity && low <= high);
    float width = (high - low) / BUCKET_QUEUE_BUCKETS;
    queue->ef = ef;
    queue->total = queue->used = 0;
    queue->free = NONE;
    queue->bound = queue->nearest = BUCKET_QUEUE_BUCKETS - 1;
    queue->low = low;
    queue->width = width >= FLT_MIN && width <= FLT_MAX ? width : 1; /* or all are as near */
    queue->buckets_per_distance = 1 / queue->width;
    memset(queue->heads, 0xff, sizeof(queue->heads));
    memset(queue->counts, 0, sizeof(queue->counts));
    memset(queue->filled, 0, sizeof(queue->filled));
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

/* Doubles the range downwards: two buckets become one, and the lower half is free. */
static void widen(struct bucket_queue *queue) {
    const size_t half = BUCKET_QUEUE_BUCKETS / 2;
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

static void empty_bucket(struct bucket_queue *queue, size_t bucket) {
    uint32_t entry = queue->heads[bucket];
    while (entry != NONE) {
        uint32_t next = queue->entries[entry].next;
        queue->entries[entry].next = queue->free;
        queue->free = entry;
        entry = next;
    }
    queue->heads[bucket] = NONE;
    queue->total -= queue->counts[bucket];
    queue->counts[bucket] = 0;
    clear_filled(queue, bucket);
}

void bucket_queue_close(struct bucket_queue *queue) {
    while (queue->bound > 0 && queue->total - queue->counts[queue->bound] >= queue->ef) {
        size_t closed = queue->bound--;
        if (queue->counts[closed] > 0)
            empty_bucket(queue, closed);
    }
}

static uint32_t take_entry(struct bucket_queue *queue) {
    uint32_t entry = queue->free;
    if (entry != NONE)
        queue->free = queue->entries[entry].next;
    else if (queue->used < queue->capacity)
        entry = (uint32_t)queue->used++;
    return entry;
}

void bucket_queue_push(struct bucket_queue *queue, uint32_t slot, float distance) {
    for (int doublings = 0; distance < queue->low && doublings < 64; doublings++)
        widen(queue);
    float place = (distance - queue->low) * queue->buckets_per_distance;
    size_t bucket =
        place < BUCKET_QUEUE_BUCKETS ? place > 0 ? (size_t)place : 0 : BUCKET_QUEUE_BUCKETS - 1;
    if (bucket > queue->bound)
        return;
    uint32_t entry = take_entry(queue);
    if (entry == NONE)
        return;
    queue->entries[entry] = (struct bucket_queue_entry){slot, queue->heads[bucket]};
    queue->heads[bucket] = entry;
    queue->counts[bucket]++;
    queue->total++;
    set_filled(queue, bucket);
    if (bucket < queue->nearest)
        queue->nearest = bucket;
}

bool bucket_queue_pop(struct bucket_queue *queue, uint32_t *slot) {
    size_t word = queue->nearest / 64;
    uint64_t bits = queue->filled[word] & UINT64_MAX << queue->nearest % 64;
    while (bits == 0 && ++word < BUCKET_QUEUE_WORDS)
        bits = queue->filled[word];
    if (bits == 0)
        return false;
    size_t bucket = queue->nearest = word * 64 + (size_t)__builtin_ctzll(bits);
    uint32_t entry = queue->heads[bucket];
    *slot = queue->entries[entry].slot;
    queue->heads[bucket] = queue->entries[entry].next;
    if (queue->heads[bucket] == NONE)
        clear_filled(queue, bucket);
    queue->entries[entry].next = queue->free;
    queue->free = entry;
    return true;
}
