#include "index/visited.h"

#include "index/memory.h"

#include <string.h>

bool visited_reserve(struct visited *visited, uint32_t slot_end) {
    if (slot_end <= visited->capacity)
        return true;
    /* A margin, since the set is made anew each time it grows. */
    uint32_t capacity = slot_end + slot_end / 2 + 4096;
    size_t bytes = (capacity + 1) * sizeof(visited->marks[0]);
    uint16_t *marks = memory_map(bytes);
    if (!marks)
        return false;
    if (bytes >= MEMORY_HUGE_PAGE)
        memory_use_huge_pages(marks, bytes);
    visited_free(visited);
    *visited = (struct visited){.marks = marks, .capacity = capacity};
    return true;
}

void visited_free(struct visited *visited) {
    memory_unmap(visited->marks, ((size_t)visited->capacity + 1) * sizeof(visited->marks[0]));
    *visited = (struct visited){0};
}

void visited_begin(struct visited *visited) {
    visited->present = (uint16_t)(visited->present + 2);
    if (visited->present == 0) {
        memset(visited->marks, 0, ((size_t)visited->capacity + 1) * sizeof(visited->marks[0]));
        visited->present = 2;
    }
}
