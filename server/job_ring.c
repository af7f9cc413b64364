#include "server/job_ring.h"

#include <stdlib.h>

enum status job_ring_init(struct job_ring *ring, size_t length_max, struct error *error) {
    size_t size = 2; /* with one cell, filled and emptied would look alike */
    while (size < length_max)
        size *= 2;
    *ring = (struct job_ring){.mask = size - 1, .length_max = length_max};
    ring->cells = calloc(size, sizeof(ring->cells[0]));
    if (!ring->cells)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the queue of requests");
    for (size_t i = 0; i < size; i++)
        atomic_init(&ring->cells[i].turn, i);
    return STATUS_OK;
}

void job_ring_free(struct job_ring *ring) {
    free(ring->cells);
    *ring = (struct job_ring){0};
}

size_t job_ring_length(struct job_ring *ring) {
    return ring->head - atomic_load_explicit(&ring->tail, memory_order_acquire);
}

bool job_ring_put(struct job_ring *ring, struct job *job) {
    struct job_ring_cell *cell = &ring->cells[ring->head & ring->mask];
    /* A position may be claimed but its cell not yet emptied; then the ring counts as full. */
    if (job_ring_length(ring) >= ring->length_max ||
        atomic_load_explicit(&cell->turn, memory_order_acquire) != ring->head)
        return false;
    cell->job = job;
    atomic_store_explicit(&cell->turn, ring->head + 1, memory_order_seq_cst);
    ring->head++;
    return true;
}

/* Each lap adds mask + 1 to a cell's turn; it is larger than the position only if the cell of this
 * lap was filled. When another taker has moved on meanwhile, that counts as not empty: the caller
 * looks again. */
bool job_ring_is_empty(struct job_ring *ring) {
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_seq_cst);
    return atomic_load_explicit(&ring->cells[tail & ring->mask].turn, memory_order_seq_cst) == tail;
}

struct job *job_ring_take(struct job_ring *ring) {
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (;;) {
        struct job_ring_cell *cell = &ring->cells[tail & ring->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        if (turn == tail + 1) {
            if (!atomic_compare_exchange_weak_explicit(&ring->tail, &tail, tail + 1,
                                                       memory_order_acq_rel, memory_order_relaxed))
                continue; /* tail is now what another taker left */
            struct job *job = cell->job;
            atomic_store_explicit(&cell->turn, tail + ring->mask + 1, memory_order_release);
            return job;
        }
        if (turn == tail)
            return NULL; /* not filled yet */
        tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    }
}
