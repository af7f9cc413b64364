/* slot_set.h -- a set of slots: one bit a slot, in chunks that know whether they are empty.
 *
 * Memory: an arena of the caller. Threads: one at a time.
 */
#ifndef SLOT_SET_H
#define SLOT_SET_H

#include "storage/arena.h"
#include "storage/posting_chunk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot_set {
    uint64_t *words;       /* POSTING_CHUNK_WORDS a chunk */
    bool *occupied;        /* by chunk; false: all its bits are 0 */
    uint32_t chunks;       /* at least 1 */
    struct slot_set *next; /* the owner's, to keep sets in a list */
};

/* An empty set with room for the slots below slot_end; NULL if the arena is full. */
struct slot_set *slot_set_create(struct arena *arena, uint32_t slot_end);

void slot_set_clear(struct slot_set *set);
void slot_set_add(struct slot_set *set, uint32_t slot);
bool slot_set_has(const struct slot_set *set, uint32_t slot);

/* Adds the slots of a chunk; number is slot >> POSTING_CHUNK_BITS. Chunks past the end are left
 * out. */
void slot_set_add_chunk(struct slot_set *set, uint32_t number, const struct posting_chunk *chunk);

/* set becomes the union, intersection or difference of both; sets of one size. */
void slot_set_or(struct slot_set *set, const struct slot_set *other);
void slot_set_and(struct slot_set *set, const struct slot_set *other);
void slot_set_and_not(struct slot_set *set, const struct slot_set *other);

/* True if some slot is in both. */
bool slot_set_meets(const struct slot_set *set, const struct slot_set *other);

uint32_t slot_set_count(const struct slot_set *set);
bool slot_set_is_empty(const struct slot_set *set);

/* Takes out the slots from slot_end on. */
void slot_set_cut(struct slot_set *set, uint32_t slot_end);

#endif
