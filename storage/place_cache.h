/* place_cache.h -- where records lie in the map, remembered from one reader to the next.
 *
 * To look a record up in LMDB costs 0.3-1 us of waiting for memory, and a search looks at records
 * all over the place. Where they lie does not change within a snapshot, so what one reader found is
 * true for the next as long as both have the same snapshot and the map was not moved in between. A
 * cache is used by one reader at a time; those that nobody uses wait in the collection's pool.
 *
 * Memory: 24 bytes a place; each table has as many places as the collection has records of its
 * kind, up to a limit, and grows with it. Places that were never used take no pages of a large
 * table. Without memory a reader does without.
 */
#ifndef PLACE_CACHE_H
#define PLACE_CACHE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PLACE_CACHE_PLACES_MIN = 16, /* of a table; these are powers of two */
    PLACE_CACHE_BLOCKS_MAX = 4096,
    PLACE_CACHE_ROWS_MAX = 65536, /* 1.5 MB */
};

enum place_table {
    PLACE_BLOCKS, /* of vectors: a vector's number and a block */
    PLACE_ROWS,   /* of points: 0 and a slot */
    PLACE_TABLES,
};

/* What the places are true for. */
struct place_cache_source {
    size_t snapshot; /* LMDB's number of the transaction */
    uint64_t map;    /* how often the map has moved before */
};

struct place_cache;

/* Any thread. */
struct place_cache_pool {
    pthread_mutex_t mutex; /* a leaf */
    struct place_cache *idle;
};

void place_cache_pool_init(struct place_cache_pool *pool);
void place_cache_pool_free(struct place_cache_pool *pool); /* all were given back */

/* Lends a cache that holds nothing but what is true for the source; NULL: out of memory. records:
 * how many there are of each kind, about. */
struct place_cache *place_cache_take(struct place_cache_pool *pool,
                                     const struct place_cache_source *source,
                                     const uint64_t records[PLACE_TABLES]);
void place_cache_give(struct place_cache_pool *pool, struct place_cache *cache); /* NULL: none */

/* Where the record lies; false if it is not known. The reader that was lent the cache, like all of
 * the below. */
bool place_cache_find(const struct place_cache *cache, enum place_table table, uint16_t number,
                      uint32_t record, MDB_val *value);

/* Remembers it, perhaps in place of another. */
void place_cache_put(struct place_cache *cache, enum place_table table, uint16_t number,
                     uint32_t record, const MDB_val *value);

/* Has the processor fetch what place_cache_find() will look at. */
void place_cache_prefetch(const struct place_cache *cache, enum place_table table, uint16_t number,
                          uint32_t record);

#endif
