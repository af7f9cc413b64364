/* slot_pool.h -- which slots may be given to new points, and which wait to become free.
 *
 * A slot's life after its point died: dead (searches of old snapshots still see it) -> repaired (no
 * node of any graph points at it, but a search that began earlier may still hold its number) ->
 * free. Slots are reused by groups, one group being about one block of vectors, and only once a
 * sixteenth of a group is free: so reuse rewrites fewer blocks, and fewer than one slot in sixteen
 * lies idle for it, whatever the order in which points die.
 *
 * Memory: malloc'ed, embedded in the collection. Threads: any; one mutex, a leaf.
 */
#ifndef SLOT_POOL_H
#define SLOT_POOL_H

#include "index/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dead_slot {
    uint32_t slot;
    uint64_t died; /* the operation that killed it */
};

struct slot_pool {
    pthread_mutex_t mutex;
    uint32_t group;        /* slots a group */
    uint64_t *free_words;  /* bit per slot */
    uint16_t *free_counts; /* free slots a group */
    uint32_t slot_end;     /* slots the two arrays have room for */
    uint32_t refill;       /* group that is being refilled; UINT32_MAX: none */
    uint64_t free_count;
    size_t refillable_count; /* groups worth refilling */
    struct dead_slot *dead;  /* oldest first, from dead_first on */
    size_t dead_first, dead_count, dead_capacity;
    size_t dead_reserved; /* how many more there must be room for */
};

MUST_CHECK enum status slot_pool_init(struct slot_pool *pool, uint32_t group, struct error *error);
void slot_pool_destroy(struct slot_pool *pool);

/* Makes room for the slots below slot_end and for `dead` more dead ones, so that what follows
 * cannot fail. The room for dead ones is in place of what was reserved before. */
MUST_CHECK enum status slot_pool_reserve(struct slot_pool *pool, uint32_t slot_end, size_t dead,
                                         struct error *error);

/* Takes a free slot of a group worth refilling; SLOT_NONE if there is none: use a new one. */
uint32_t slot_pool_take(struct slot_pool *pool);

/* At most how many slots slot_pool_take would give; 0 only if it would give none. */
uint64_t slot_pool_free_count(struct slot_pool *pool);

/* Makes a slot free (again). */
void slot_pool_give(struct slot_pool *pool, uint32_t slot);

void slot_pool_add_dead(struct slot_pool *pool, uint32_t slot, uint64_t died);

/* Gives memory back that was for many more dead slots than there are. Moves up to count dead slots
 * that died at or before `oldest` into slots; returns how many. */
size_t slot_pool_take_dead(struct slot_pool *pool, uint64_t oldest, uint32_t *slots, size_t count);

size_t slot_pool_dead_count(struct slot_pool *pool);
/* Of these, how many slot_pool_take_dead would give. */
size_t slot_pool_count_dead_before(struct slot_pool *pool, uint64_t oldest);

#endif
