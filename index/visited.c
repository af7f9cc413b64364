#include "index/visited.h"

#include "index/memory.h"
#include "index/slots.h"

#include <stdlib.h>
#include <string.h>

static size_t words_for(uint32_t slots) {
    return (size_t)slots / VISITED_PER_WORD + 2;
}

bool visited_reserve(struct visited *visited, uint32_t slot_end) {
    if (slot_end <= visited->capacity)
        return true;
    /* A margin, since the set is made anew each time it grows. */
    uint64_t roomy = (uint64_t)slot_end + slot_end / 2 + 4096;
    /* What is no slot must lie beyond. */
    uint32_t capacity = roomy < SLOT_MAX ? (uint32_t)roomy : SLOT_MAX;
    uint64_t *words = calloc(words_for(capacity), sizeof(words[0]));
    uint32_t *marked = malloc(VISITED_MARKED_MAX * sizeof(marked[0]));
    if (!words || !marked) {
        free(words);
        free(marked);
        return false;
    }
    visited_free(visited);
    *visited = (struct visited){.words = words, .marked = marked, .capacity = capacity};
    return true;
}

void visited_free(struct visited *visited) {
    free(visited->words);
    free(visited->marked);
    *visited = (struct visited){0};
}

void visited_begin(struct visited *visited) {
    if (visited->marked_count == VISITED_MARKED_MAX - 1)
        memset(visited->words, 0, words_for(visited->capacity) * sizeof(visited->words[0]));
    for (size_t i = 0; i < visited->marked_count; i++)
        visited->words[visited->marked[i]] = 0;
    visited->marked_count = 0;
}
