/* change_set.h -- what a committed write does to memory.
 *
 * While a group of jobs runs in its transaction, its effects on slots and vector indexes are only
 * noted here. Before the commit, memory is reserved for all of them, so that publishing them after
 * it wants nothing more. If the commit fails, nothing was published (HARDENING 2.17).
 *
 * Memory: malloc'ed arrays, kept from group to group unless they are large; the numbers of vectors
 * that jobs brought are borrowed from them until publish. Those of points that only moved, which
 * may be all of a collection, are read again from what was committed. Threads: the writer that
 * holds the collection.
 */
#ifndef CHANGE_SET_H
#define CHANGE_SET_H

#include "index/status.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collection;

struct slot_change {
    uint32_t slot;
    bool is_birth; /* else a death */
    uint64_t operation;
    uint64_t key;        /* births: seeds the levels of the slot's nodes */
    size_t first_vector; /* births: its vectors */
    size_t vectors_count;
};

struct changed_vector {
    uint16_t ordinal;    /* which vector of the collection */
    const float *values; /* NULL: to be read from what was committed */
};

struct change_set {
    struct slot_change *slots;
    size_t slots_count, slots_capacity;
    struct changed_vector *vectors;
    size_t vectors_count, vectors_capacity;
    size_t births_count, deaths_count;
    bool has_moved; /* vectors are to be read, or were before an undo */
};

void change_set_free(struct change_set *set);
void change_set_clear(struct change_set *set);

/* A birth's vectors follow by change_set_add_vector; values NULL: see changed_vector. */
MUST_CHECK enum status change_set_add_birth(struct change_set *set, uint32_t slot,
                                            uint64_t operation, uint64_t key, struct error *error);
MUST_CHECK enum status change_set_add_vector(struct change_set *set, uint16_t ordinal,
                                             const float *values, struct error *error);
MUST_CHECK enum status change_set_add_death(struct change_set *set, uint32_t slot,
                                            uint64_t operation, struct error *error);

/* Forgets the changes from `slots_count` on, which it was when a job began. Slots that were taken
 * from the pool (below next_slot of that time) go back into it. */
void change_set_undo(struct change_set *set, struct collection *collection, size_t slots_count,
                     uint32_t next_slot);

/* Makes room in slots, indexes and pool. */
MUST_CHECK enum status change_set_reserve(const struct change_set *set,
                                          struct collection *collection, uint32_t next_slot,
                                          struct error *error);

/* Applies the changes in order. Readers as of older operations see none of them. committed: a
 * snapshot that holds them, for has_moved; NULL if it could not be had. What cannot be read is left
 * out of its index, all else is published, and the last reason returned: memory is then less than
 * what is on disk until the next start. */
MUST_CHECK enum status change_set_publish(const struct change_set *set,
                                          struct collection *collection, MDB_txn *committed,
                                          struct error *error);

#endif
