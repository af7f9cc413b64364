#include "storage/place_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct place {
    uint64_t key; /* see key_of; 0: empty */
    MDB_val value;
};

struct table {
    size_t first; /* of its places */
    size_t count; /* a power of two */
};

struct place_cache {
    struct place_cache *next; /* the pool's, while idle */
    struct place_cache_source source;
    uint16_t generation; /* in the keys of all places that are true for the source; never 0 */
    struct table tables[PLACE_TABLES];
    struct place places[];
};

void place_cache_pool_init(struct place_cache_pool *pool) {
    pthread_mutex_init(&pool->mutex, NULL);
    pool->idle = NULL;
}

void place_cache_pool_free(struct place_cache_pool *pool) {
    while (pool->idle) {
        struct place_cache *cache = pool->idle;
        pool->idle = cache->next;
        free(cache);
    }
    pthread_mutex_destroy(&pool->mutex);
}

static size_t places_for(enum place_table table, uint64_t records) {
    static const size_t most[PLACE_TABLES] = {
        [PLACE_BLOCKS] = PLACE_CACHE_BLOCKS_MAX, [PLACE_ROWS] = PLACE_CACHE_ROWS_MAX};
    size_t count = PLACE_CACHE_PLACES_MIN;
    while (count < records && count < most[table])
        count *= 2;
    return count;
}

static size_t places_of(const struct place_cache *cache) {
    const struct table *last = &cache->tables[PLACE_TABLES - 1];
    return last->first + last->count;
}

static struct place_cache *create(const uint64_t records[PLACE_TABLES]) {
    struct table tables[PLACE_TABLES];
    size_t total = 0;
    for (enum place_table table = 0; table < PLACE_TABLES; table++) {
        tables[table] = (struct table){total, places_for(table, records[table])};
        total += tables[table].count;
    }
    struct place_cache *cache = calloc(1, sizeof(*cache) + total * sizeof(cache->places[0]));
    if (cache)
        memcpy(cache->tables, tables, sizeof(tables));
    return cache;
}

static bool has_room(const struct place_cache *cache, const uint64_t records[PLACE_TABLES]) {
    for (enum place_table table = 0; table < PLACE_TABLES; table++)
        if (cache->tables[table].count < places_for(table, records[table]))
            return false;
    return true;
}

/* Forgets all places. They are cleared only when the generations begin anew: a collection that is
 * written to has a new snapshot for every few searches, and clearing a megabyte costs more than
 * they do. */
static void forget(struct place_cache *cache) {
    if (++cache->generation != 0)
        return;
    memset(cache->places, 0, places_of(cache) * sizeof(cache->places[0]));
    cache->generation = 1;
}

static bool is_same(const struct place_cache_source *a, const struct place_cache_source *b) {
    return a->snapshot == b->snapshot && a->map == b->map;
}

struct place_cache *place_cache_take(struct place_cache_pool *pool,
                                     const struct place_cache_source *source,
                                     const uint64_t records[PLACE_TABLES]) {
    pthread_mutex_lock(&pool->mutex);
    struct place_cache *cache = pool->idle;
    if (cache)
        pool->idle = cache->next;
    pthread_mutex_unlock(&pool->mutex);
    if (cache && is_same(&cache->source, source))
        return cache;
    if (!cache || !has_room(cache, records)) {
        free(cache);
        cache = create(records);
    }
    if (cache) {
        forget(cache);
        cache->source = *source;
    }
    return cache;
}

void place_cache_give(struct place_cache_pool *pool, struct place_cache *cache) {
    if (!cache)
        return;
    pthread_mutex_lock(&pool->mutex);
    cache->next = pool->idle;
    pool->idle = cache;
    pthread_mutex_unlock(&pool->mutex);
}

static uint64_t key_of(const struct place_cache *cache, uint16_t number, uint32_t record) {
    return (uint64_t)cache->generation << 48 | (uint64_t)number << 32 | record;
}

/* Records of one number come without gaps, so those that are neighbours do not meet. */
static size_t place_of(const struct place_cache *cache, enum place_table table, uint16_t number,
                       uint32_t record) {
    const struct table *part = &cache->tables[table];
    return part->first + ((record + (size_t)number * 0x9e3779b1u) & (part->count - 1));
}

bool place_cache_find(const struct place_cache *cache, enum place_table table, uint16_t number,
                      uint32_t record, MDB_val *value) {
    const struct place *place = &cache->places[place_of(cache, table, number, record)];
    if (place->key != key_of(cache, number, record))
        return false;
    *value = place->value;
    return true;
}

void place_cache_put(struct place_cache *cache, enum place_table table, uint16_t number,
                     uint32_t record, const MDB_val *value) {
    assert(value->mv_data);
    cache->places[place_of(cache, table, number, record)] =
        (struct place){.key = key_of(cache, number, record), .value = *value};
}

void place_cache_prefetch(const struct place_cache *cache, enum place_table table, uint16_t number,
                          uint32_t record) {
    __builtin_prefetch(&cache->places[place_of(cache, table, number, record)]);
}
