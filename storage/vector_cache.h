/* vector_cache.h -- where blocks of vectors lie, remembered from one reader to the next.
 *
 * To look a block up in LMDB costs 0.3-1 us, and a search looks at blocks all over the place. Where
 * they lie in the map does not change within a snapshot, so what one reader found is true for the
 * next as long as both have the same snapshot and the map was not moved in between. A cache is used
 * by one reader at a time; those that nobody uses wait in the collection's pool.
 *
 * Memory: 24 bytes a place, as many places as the collection has blocks, up to a limit; it grows
 * with the collection. Without memory a reader does without.
 */
#ifndef VECTOR_CACHE_H
#define VECTOR_CACHE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VECTOR_CACHE_PLACES_MIN = 16, /* powers of two */
    VECTOR_CACHE_PLACES_MAX = 4096,
};

/* What the places are true for. */
struct vector_cache_source {
    size_t snapshot; /* LMDB's number of the transaction */
    uint64_t map;    /* how often the map has moved before */
};

struct vector_cache;

/* Any thread. */
struct vector_cache_pool {
    pthread_mutex_t mutex; /* a leaf */
    struct vector_cache *idle;
};

void vector_cache_pool_init(struct vector_cache_pool *pool);
void vector_cache_pool_free(struct vector_cache_pool *pool); /* all were given back */

/* Lends a cache that holds nothing but what is true for the source; NULL: out of memory. blocks:
 * how many there are, about. */
struct vector_cache *vector_cache_take(struct vector_cache_pool *pool,
                                       const struct vector_cache_source *source, uint64_t blocks);
void vector_cache_give(struct vector_cache_pool *pool, struct vector_cache *cache); /* NULL: none */

/* The block of a vector's number; false if it is not known. The reader that was lent the cache,
 * like all of the below. */
bool vector_cache_find(const struct vector_cache *cache, uint16_t number, uint32_t block,
                       MDB_val *value);

/* Remembers it, perhaps in place of another. */
void vector_cache_put(struct vector_cache *cache, uint16_t number, uint32_t block,
                      const MDB_val *value);

#endif
