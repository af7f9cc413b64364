/* visited.h -- which slots a walk has met, cleared in no time.
 *
 * A 16-bit number a slot: the slot is visited if it holds the number of the present walk, which is
 * even; expanded, for walks that tell the two apart, if it holds the next one. One walk, one
 * thread.
 */
#ifndef VISITED_H
#define VISITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct visited {
    uint16_t *marks;   /* of each slot, and one more for what is no slot */
    uint32_t capacity; /* slots */
    uint16_t present;
};

/* Makes room for the slots below slot_end; false when memory ends. Forgets all marks. */
bool visited_reserve(struct visited *visited, uint32_t slot_end);
void visited_free(struct visited *visited);

/* Begins a new walk: nothing is visited. */
void visited_begin(struct visited *visited);

/* Marks the slot; true if it was not marked yet. A slot beyond capacity, born after the walk began,
 * counts as marked. */
static inline bool visited_add(struct visited *visited, uint32_t slot) {
    if (slot >= visited->capacity || visited->marks[slot] == visited->present)
        return false;
    visited->marks[slot] = visited->present;
    return true;
}

/* Marks the slot as expanded; true if it was not yet. The slot lies below the capacity. */
static inline bool visited_expand(struct visited *visited, uint32_t slot) {
    uint16_t expanded = (uint16_t)(visited->present + 1);
    bool is_first = visited->marks[slot] != expanded;
    visited->marks[slot] = expanded;
    return is_first;
}

/* True if the slot was neither visited nor expanded. Beyond the capacity there is none such. */
static inline bool visited_is_new(const struct visited *visited, uint32_t slot) {
    return slot < visited->capacity && visited->marks[slot] < visited->present;
}

static inline bool visited_has(const struct visited *visited, uint32_t slot) {
    return visited->marks[slot] == visited->present;
}

#endif
