#include "storage/slot_pool.h"
#include "index/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    REFILL_SHARE = 16, /* a group is refilled when a share 1 / so many of it is free */
    DEAD_FIRST = 256,
    DEAD_KEPT = 1 << 16, /* dead slots there is always room for, once there was */
    DEAD_SPARE = 8,      /* beyond that, room for so many times what is needed is too much */
    SLOTS_FIRST = 16384,
};

enum status slot_pool_init(struct slot_pool *pool, uint32_t group, struct error *error) {
    assert(group >= 1 && group <= UINT16_MAX);
    *pool = (struct slot_pool){.group = group, .refill = UINT32_MAX};
    if (pthread_mutex_init(&pool->mutex, NULL) != 0)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    return STATUS_OK;
}

void slot_pool_destroy(struct slot_pool *pool) {
    free(pool->free_words);
    free(pool->free_counts);
    free(pool->dead);
    pthread_mutex_destroy(&pool->mutex);
}

static size_t groups_of(const struct slot_pool *pool, uint32_t slot_end) {
    return ((size_t)slot_end + pool->group - 1) / pool->group;
}

static bool grow_free(struct slot_pool *pool, uint32_t wanted) {
    uint64_t end = pool->slot_end > 0 ? pool->slot_end : SLOTS_FIRST;
    while (end < wanted)
        end *= 2;
    if (end > (uint64_t)SLOT_MAX + 1)
        end = (uint64_t)SLOT_MAX + 1;
    size_t words = (size_t)(end + 63) / 64, groups = groups_of(pool, (uint32_t)end);
    size_t old_words = ((size_t)pool->slot_end + 63) / 64;
    size_t old_groups = groups_of(pool, pool->slot_end);
    uint64_t *free_words = realloc(pool->free_words, words * sizeof(*free_words));
    if (!free_words)
        return false;
    pool->free_words = free_words;
    memset(free_words + old_words, 0, (words - old_words) * sizeof(*free_words));
    uint16_t *free_counts = realloc(pool->free_counts, groups * sizeof(*free_counts));
    if (!free_counts)
        return false;
    pool->free_counts = free_counts;
    memset(free_counts + old_groups, 0, (groups - old_groups) * sizeof(*free_counts));
    pool->slot_end = (uint32_t)end;
    return true;
}

static bool grow_dead(struct slot_pool *pool, size_t wanted) {
    size_t capacity = pool->dead_capacity > 0 ? pool->dead_capacity : DEAD_FIRST;
    while (capacity < wanted)
        capacity *= 2;
    struct dead_slot *dead = realloc(pool->dead, capacity * sizeof(*dead));
    if (!dead)
        return false;
    pool->dead = dead;
    pool->dead_capacity = capacity;
    return true;
}

enum status slot_pool_reserve(struct slot_pool *pool, uint32_t slot_end, size_t dead,
                              struct error *error) {
    bool is_done = true;
    pthread_mutex_lock(&pool->mutex);
    if (slot_end > pool->slot_end)
        is_done = grow_free(pool, slot_end);
    if (pool->dead_first > 0 && pool->dead_first + pool->dead_count + dead > pool->dead_capacity) {
        memmove(pool->dead, pool->dead + pool->dead_first, pool->dead_count * sizeof(*pool->dead));
        pool->dead_first = 0;
    }
    if (is_done && pool->dead_count + dead > pool->dead_capacity)
        is_done = grow_dead(pool, pool->dead_count + dead);
    pool->dead_reserved = is_done ? dead : 0;
    pthread_mutex_unlock(&pool->mutex);
    return is_done ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "out of memory");
}

static uint16_t refill_least(const struct slot_pool *pool) {
    return (uint16_t)((pool->group + REFILL_SHARE - 1) / REFILL_SHARE);
}

/* The next group worth refilling after the last one. */
static uint32_t find_refill(const struct slot_pool *pool) {
    size_t groups = groups_of(pool, pool->slot_end);
    size_t start = pool->refill == UINT32_MAX ? 0 : pool->refill;
    for (size_t i = 0; i < groups; i++) {
        size_t group = (start + i) % groups;
        if (pool->free_counts[group] >= refill_least(pool))
            return (uint32_t)group;
    }
    return UINT32_MAX;
}

static uint32_t take_from(struct slot_pool *pool, uint32_t group) {
    uint64_t first = (uint64_t)group * pool->group, end = first + pool->group;
    for (uint64_t slot = first; slot < end && slot < pool->slot_end; slot++) {
        uint64_t bit = 1ULL << (slot % 64);
        if (!(pool->free_words[slot / 64] & bit))
            continue;
        pool->free_words[slot / 64] &= ~bit;
        if (pool->free_counts[group]-- == refill_least(pool))
            pool->refillable_count--;
        pool->free_count--;
        return (uint32_t)slot;
    }
    return SLOT_NONE;
}

uint32_t slot_pool_take(struct slot_pool *pool) {
    uint32_t slot = SLOT_NONE;
    pthread_mutex_lock(&pool->mutex);
    if (pool->free_count > 0) {
        bool is_spent = pool->refill == UINT32_MAX || pool->free_counts[pool->refill] == 0;
        if (is_spent) /* without the count, each take would look at all groups in vain */
            pool->refill = pool->refillable_count > 0 ? find_refill(pool) : UINT32_MAX;
        if (pool->refill != UINT32_MAX)
            slot = take_from(pool, pool->refill);
    }
    pthread_mutex_unlock(&pool->mutex);
    return slot;
}

uint64_t slot_pool_free_count(struct slot_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    bool is_any = pool->refillable_count > 0 ||
                  (pool->refill != UINT32_MAX && pool->free_counts[pool->refill] > 0);
    uint64_t count = is_any ? pool->free_count : 0;
    pthread_mutex_unlock(&pool->mutex);
    return count;
}

void slot_pool_give(struct slot_pool *pool, uint32_t slot) {
    pthread_mutex_lock(&pool->mutex);
    assert(slot < pool->slot_end);
    uint64_t bit = 1ULL << (slot % 64);
    assert(!(pool->free_words[slot / 64] & bit));
    pool->free_words[slot / 64] |= bit;
    if (++pool->free_counts[slot / pool->group] == refill_least(pool))
        pool->refillable_count++;
    pool->free_count++;
    pthread_mutex_unlock(&pool->mutex);
}

void slot_pool_add_dead(struct slot_pool *pool, uint32_t slot, uint64_t died) {
    pthread_mutex_lock(&pool->mutex);
    assert(pool->dead_first + pool->dead_count < pool->dead_capacity);
    pool->dead[pool->dead_first + pool->dead_count++] =
        (struct dead_slot){.slot = slot, .died = died};
    if (pool->dead_reserved > 0)
        pool->dead_reserved--;
    pthread_mutex_unlock(&pool->mutex);
}

/* One deletion of many points would else keep its memory for as long as the collection is open. */
static void shrink_dead(struct slot_pool *pool) {
    size_t needed = pool->dead_count + pool->dead_reserved;
    if (pool->dead_capacity <= DEAD_KEPT || needed > pool->dead_capacity / DEAD_SPARE)
        return;
    size_t capacity = 2 * needed > DEAD_KEPT ? 2 * needed : DEAD_KEPT;
    memmove(pool->dead, pool->dead + pool->dead_first, pool->dead_count * sizeof(*pool->dead));
    pool->dead_first = 0;
    struct dead_slot *dead = realloc(pool->dead, capacity * sizeof(*dead));
    if (!dead)
        return;
    pool->dead = dead;
    pool->dead_capacity = capacity;
}

size_t slot_pool_take_dead(struct slot_pool *pool, uint64_t oldest, uint32_t *slots, size_t count) {
    size_t taken = 0;
    pthread_mutex_lock(&pool->mutex);
    /* Operations die in order, so those that may go are in front. */
    while (taken < count && pool->dead_count > 0 && pool->dead[pool->dead_first].died <= oldest) {
        slots[taken++] = pool->dead[pool->dead_first++].slot;
        pool->dead_count--;
    }
    shrink_dead(pool);
    pthread_mutex_unlock(&pool->mutex);
    return taken;
}

size_t slot_pool_dead_count(struct slot_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    size_t count = pool->dead_count;
    pthread_mutex_unlock(&pool->mutex);
    return count;
}

size_t slot_pool_count_dead_before(struct slot_pool *pool, uint64_t oldest) {
    pthread_mutex_lock(&pool->mutex);
    size_t low = 0, high = pool->dead_count; /* operations die in order */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pool->dead[pool->dead_first + middle].died <= oldest)
            low = middle + 1;
        else
            high = middle;
    }
    pthread_mutex_unlock(&pool->mutex);
    return low;
}
