#include "storage/vector_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct place {
    uint64_t key; /* see key_of; 0: empty */
    MDB_val value;
};

struct vector_cache {
    struct vector_cache *next; /* the pool's, while idle */
    struct vector_cache_source source;
    size_t count; /* of places; a power of two */
    struct place places[];
};

void vector_cache_pool_init(struct vector_cache_pool *pool) {
    pthread_mutex_init(&pool->mutex, NULL);
    pool->idle = NULL;
}

void vector_cache_pool_free(struct vector_cache_pool *pool) {
    while (pool->idle) {
        struct vector_cache *cache = pool->idle;
        pool->idle = cache->next;
        free(cache);
    }
    pthread_mutex_destroy(&pool->mutex);
}

static size_t places_for(uint64_t blocks) {
    size_t count = VECTOR_CACHE_PLACES_MIN;
    while (count < blocks && count < VECTOR_CACHE_PLACES_MAX)
        count *= 2;
    return count;
}

static struct vector_cache *create(size_t count) {
    struct vector_cache *cache = calloc(1, sizeof(*cache) + count * sizeof(cache->places[0]));
    if (cache)
        cache->count = count;
    return cache;
}

static bool is_same(const struct vector_cache_source *a, const struct vector_cache_source *b) {
    return a->snapshot == b->snapshot && a->map == b->map;
}

struct vector_cache *vector_cache_take(struct vector_cache_pool *pool,
                                       const struct vector_cache_source *source, uint64_t blocks) {
    pthread_mutex_lock(&pool->mutex);
    struct vector_cache *cache = pool->idle;
    if (cache)
        pool->idle = cache->next;
    pthread_mutex_unlock(&pool->mutex);
    if (cache && is_same(&cache->source, source))
        return cache;
    size_t count = places_for(blocks);
    if (!cache || cache->count < count) {
        free(cache);
        cache = create(count);
    } else {
        memset(cache->places, 0, cache->count * sizeof(cache->places[0]));
    }
    if (cache)
        cache->source = *source;
    return cache;
}

void vector_cache_give(struct vector_cache_pool *pool, struct vector_cache *cache) {
    if (!cache)
        return;
    pthread_mutex_lock(&pool->mutex);
    cache->next = pool->idle;
    pool->idle = cache;
    pthread_mutex_unlock(&pool->mutex);
}

static uint64_t key_of(uint16_t number, uint32_t block) {
    return ((uint64_t)number << 32 | block) + 1;
}

/* Blocks of one vector come without gaps, so those that are neighbours do not meet. */
static size_t place_of(const struct vector_cache *cache, uint16_t number, uint32_t block) {
    return (block + (size_t)number * 0x9e3779b1u) & (cache->count - 1);
}

bool vector_cache_find(const struct vector_cache *cache, uint16_t number, uint32_t block,
                       MDB_val *value) {
    const struct place *place = &cache->places[place_of(cache, number, block)];
    if (place->key != key_of(number, block))
        return false;
    *value = place->value;
    return true;
}

void vector_cache_put(struct vector_cache *cache, uint16_t number, uint32_t block,
                      const MDB_val *value) {
    assert(value->mv_data);
    cache->places[place_of(cache, number, block)] =
        (struct place){.key = key_of(number, block), .value = *value};
}
