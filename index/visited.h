/* visited.h -- which slots a walk has met.
 *
 * Two bits a slot, so that even of millions of slots what a walk looks at stays in the near caches:
 * visited; and expanded, for walks that tell the two apart. What was marked is remembered, and a
 * new walk clears only that. One walk, one thread.
 */
#ifndef VISITED_H
#define VISITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VISITED_PER_WORD = 32,       /* slots */
    VISITED_MARKED_MAX = 1 << 14 /* words that are remembered: beyond, all are cleared */
};

struct visited {
    uint64_t *words;   /* of the slots below capacity, and one more for what is no slot */
    uint32_t *marked;  /* VISITED_MARKED_MAX: words that have bits, some more than once */
    uint32_t capacity; /* slots */
    size_t marked_count;
};

/* Makes room for the slots below slot_end; false when memory ends. Forgets all marks. */
bool visited_reserve(struct visited *visited, uint32_t slot_end);
void visited_free(struct visited *visited);

/* Begins a new walk: nothing is visited. */
void visited_begin(struct visited *visited);

/* 0: the slot is new; 1: visited; 2 or 3: expanded. The slot lies below the capacity. */
static inline unsigned visited_state(const struct visited *visited, uint32_t slot) {
    return visited->words[slot / VISITED_PER_WORD] >> 2 * (slot % VISITED_PER_WORD) & 3;
}

static inline void visited_mark(struct visited *visited, uint32_t slot, uint64_t state) {
    visited->words[slot / VISITED_PER_WORD] |= state << 2 * (slot % VISITED_PER_WORD);
    /* The last place takes what is too much. */
    visited->marked[visited->marked_count] = slot / VISITED_PER_WORD;
    visited->marked_count += visited->marked_count < VISITED_MARKED_MAX - 1;
}

/* True if the slot was neither visited nor expanded. Beyond the capacity, as of slots born after
 * the walk began, there is none such. */
static inline bool visited_is_new(const struct visited *visited, uint32_t slot) {
    return slot < visited->capacity && visited_state(visited, slot) == 0;
}

/* Marks the slot as visited; true if it was new. */
static inline bool visited_add(struct visited *visited, uint32_t slot) {
    if (!visited_is_new(visited, slot))
        return false;
    visited_mark(visited, slot, 1);
    return true;
}

/* Marks the slot as expanded; true if it was not yet. The slot lies below the capacity. */
static inline bool visited_expand(struct visited *visited, uint32_t slot) {
    if (visited_state(visited, slot) >= 2)
        return false;
    visited_mark(visited, slot, 2);
    return true;
}

#endif
