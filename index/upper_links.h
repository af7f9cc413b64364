/* upper_links.h -- the links of the few slots that reach above level 0.
 *
 * A block holds the list of one slot on one level: `width` places, SLOT_NONE where empty. A slot of
 * level n has n blocks in a row. Blocks never move: the area grows by pieces, each twice as large.
 *
 * Threads: builders allocate (a lock inside); any thread reads.
 */
#ifndef UPPER_LINKS_H
#define UPPER_LINKS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UPPER_LEVEL_MAX = 8,
    UPPER_PIECE_BITS = 9,  /* blocks of the first piece: 2^9 */
    UPPER_PIECES_MAX = 21, /* 2^30 blocks */
};

struct upper_links {
    _Atomic uint32_t *pieces[UPPER_PIECES_MAX]; /* piece i: 2^(9+i) blocks, or NULL */
    uint32_t width;                             /* places of a block */
    uint32_t stride;                            /* the same, in whole cache lines */
    uint32_t used;                              /* blocks handed out; under lock */
    uint32_t *free[UPPER_LEVEL_MAX + 1];        /* by length: blocks to hand out again */
    uint32_t free_count[UPPER_LEVEL_MAX + 1];
    uint32_t free_capacity[UPPER_LEVEL_MAX + 1];
    pthread_mutex_t lock;
};

void upper_links_init(struct upper_links *upper, uint32_t width);
void upper_links_free(struct upper_links *upper);

/* Gives `levels` empty blocks in a row; false when memory ends. */
bool upper_links_allocate(struct upper_links *upper, uint32_t levels, uint32_t *block);

/* Takes blocks back. No reader may still look at them. */
void upper_links_release(struct upper_links *upper, uint32_t levels, uint32_t block);

uint64_t upper_links_bytes(struct upper_links *upper);

/* The list of `level` (1 ..) of the slot whose first block is `block`. */
static inline _Atomic uint32_t *upper_links_list(const struct upper_links *upper, uint32_t block,
                                                 uint32_t level) {
    uint32_t number = block + level - 1 + (1u << UPPER_PIECE_BITS);
    uint32_t top = 31 - (uint32_t)__builtin_clz(number);
    size_t place = number - (1u << top);
    return upper->pieces[top - UPPER_PIECE_BITS] + place * upper->stride;
}

#endif
