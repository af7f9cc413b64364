#include "index/upper_links.h"

#include "index/memory.h"
#include "index/slots.h"

#include <assert.h>
#include <stdlib.h>

enum {
    PLACES_PER_LINE = 16
};

void upper_links_init(struct upper_links *upper, uint32_t width) {
    *upper = (struct upper_links){.width = width};
    upper->stride = (width + PLACES_PER_LINE - 1) / PLACES_PER_LINE * PLACES_PER_LINE;
    pthread_mutex_init(&upper->lock, NULL);
}

static size_t piece_bytes(const struct upper_links *upper, uint32_t piece) {
    return ((size_t)upper->stride * sizeof(uint32_t)) << (UPPER_PIECE_BITS + piece);
}

void upper_links_free(struct upper_links *upper) {
    for (uint32_t i = 0; i < UPPER_PIECES_MAX; i++)
        memory_unmap(upper->pieces[i], piece_bytes(upper, i));
    for (uint32_t i = 0; i <= UPPER_LEVEL_MAX; i++)
        free(upper->free[i]);
    pthread_mutex_destroy(&upper->lock);
}

/* Blocks before piece i. */
static uint32_t piece_start(uint32_t piece) {
    return ((1u << piece) - 1) << UPPER_PIECE_BITS;
}

/* The first run of fresh blocks that does not cross into another piece. */
static bool take_fresh(struct upper_links *upper, uint32_t levels, uint32_t *block) {
    uint32_t piece = 0;
    while (piece_start(piece + 1) < upper->used + levels)
        piece++;
    if (piece >= UPPER_PIECES_MAX)
        return false;
    if (!upper->pieces[piece]) {
        upper->pieces[piece] = memory_map(piece_bytes(upper, piece));
        if (!upper->pieces[piece])
            return false;
    }
    if (upper->used < piece_start(piece))
        upper->used = piece_start(piece);
    *block = upper->used;
    upper->used += levels;
    return true;
}

bool upper_links_allocate(struct upper_links *upper, uint32_t levels, uint32_t *block) {
    assert(levels >= 1 && levels <= UPPER_LEVEL_MAX);
    pthread_mutex_lock(&upper->lock);
    bool is_given = upper->free_count[levels] > 0;
    if (is_given)
        *block = upper->free[levels][--upper->free_count[levels]];
    else
        is_given = take_fresh(upper, levels, block);
    pthread_mutex_unlock(&upper->lock);
    for (uint32_t level = 1; is_given && level <= levels; level++) {
        _Atomic uint32_t *list = upper_links_list(upper, *block, level);
        for (uint32_t i = 0; i < upper->width; i++)
            atomic_store_explicit(&list[i], SLOT_NONE, memory_order_relaxed);
    }
    return is_given;
}

void upper_links_release(struct upper_links *upper, uint32_t levels, uint32_t block) {
    pthread_mutex_lock(&upper->lock);
    uint32_t count = upper->free_count[levels], capacity = upper->free_capacity[levels];
    if (count == capacity) {
        uint32_t more = capacity ? capacity * 2 : 64;
        uint32_t *list = realloc(upper->free[levels], more * sizeof(list[0]));
        if (list) {
            upper->free[levels] = list;
            upper->free_capacity[levels] = capacity = more;
        }
    }
    /* Without memory for the list the blocks are lost until the index is freed. */
    if (count < capacity)
        upper->free[levels][upper->free_count[levels]++] = block;
    pthread_mutex_unlock(&upper->lock);
}

uint64_t upper_links_bytes(struct upper_links *upper) {
    pthread_mutex_lock(&upper->lock);
    uint64_t bytes = (uint64_t)upper->used * upper->stride * sizeof(uint32_t);
    pthread_mutex_unlock(&upper->lock);
    return bytes;
}
