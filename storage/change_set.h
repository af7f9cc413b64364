/* change_set.h -- what a committed write does to memory.
 *
 * While a group of jobs runs in its transaction, its effects on slots and vector indexes are only
 * noted here. Before the commit, memory is reserved for all of them; after it, publishing them
 * cannot fail. If the commit fails, nothing was published (HARDENING 2.17).
 *
 * Memory: malloc'ed arrays, kept from group to group; the vectors' numbers are borrowed from the
 * jobs until publish. Threads: the writer that holds the collection.
 */
#ifndef CHANGE_SET_H
#define CHANGE_SET_H

#include "index/status.h"

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
    uint16_t ordinal; /* which vector of the collection */
    const float *values;
};

struct change_set {
    struct slot_change *slots;
    size_t slots_count, slots_capacity;
    struct changed_vector *vectors;
    size_t vectors_count, vectors_capacity;
    size_t births_count, deaths_count;
};

void change_set_free(struct change_set *set);
void change_set_clear(struct change_set *set);

/* A birth's vectors follow by change_set_add_vector. */
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

/* Applies the changes in order. Readers as of older operations see none of them. */
void change_set_publish(const struct change_set *set, struct collection *collection);

#endif
