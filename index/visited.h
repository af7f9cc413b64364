/* visited.h -- which slots a walk has met, cleared in no time.
 *
 * A 16-bit number a slot: the slot is visited if it holds the number of the present walk. One walk,
 * one thread.
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

static inline bool visited_has(const struct visited *visited, uint32_t slot) {
    return visited->marks[slot] == visited->present;
}

#endif
