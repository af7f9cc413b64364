/* cells.h -- slots by the centre that is nearest to their codes.
 *
 * What is near a slot lies for the most part in the cells whose centres are near it, and codes of a
 * cell can be compared with many slots in one go (inverted file: Sivic & Zisserman 2003; Jegou et
 * al. 2011; centres by k-means, Lloyd 1982). We keep cells only while slots are linked in bulk, and
 * let them age: a slot that is gone, or has another vector by now, stays where it was put, and
 * whoever reads a list asks the store about each slot.
 *
 * Nearness to a centre is L2 of codes, whatever the metric of the space.
 *
 * Threads: one changes them, with nobody reading; any number read.
 */
#ifndef CELLS_H
#define CELLS_H

#include "index/store.h"

enum {
    CELLS_MAX = 1 << 15,
    CELLS_NONE = UINT16_MAX, /* no cell */
};

struct cell_list {
    uint32_t *slots; /* owned */
    uint32_t count, capacity;
};

/* All arrays are owned. The large ones are maps of their own, which go back to the system whole. */
struct cells {
    const struct store *store; /* borrowed */
    struct code_space space;   /* the store's own, but for L2 */
    size_t count;              /* a multiple of KERNELS_QUERIES, at most CELLS_MAX */
    uint8_t *rows;             /* the centres as rows of codes ... */
    struct code_meta *metas;
    int8_t *codes; /* ... and as queries */
    struct code_query *queries;
    struct cell_list *lists;
    uint16_t *order; /* of each cell its place in an order that keeps neighbours together */
};

/* Makes `count` cells without lists, their centres at slots that are spread evenly over `seeds`.
 * False when memory ends; _free accepts a zeroed struct. */
bool cells_init(struct cells *cells, const struct store *store, const struct code_space *space,
                const uint32_t *seeds, size_t seeds_count, size_t count);
void cells_free(struct cells *cells);

/* The nearest cell of each of at most CODES_BATCH_MAX slots. */
void cells_assign(const struct cells *cells, const uint32_t *slots, size_t count,
                  struct code_block *work, uint16_t *found);

/* Moves each centre to the mean of the slots that were found to be nearest to it, if there are any;
 * a slot for which CELLS_NONE was found is passed over. False when memory ends. */
bool cells_move(struct cells *cells, const uint32_t *slots, size_t count, const uint16_t *found);

/* Sets `order`; false when memory ends. */
bool cells_sort(struct cells *cells);

/* Adds the slot to a list; false when memory ends. */
bool cells_add(struct cells *cells, uint16_t cell, uint32_t slot);

/* Memory of cells_find. */
struct cells_work {
    struct code_query *queries[KERNELS_QUERIES]; /* with room for a row */
    struct code_block *block;
    struct hit *hits; /* KERNELS_QUERIES for each cell */
};

/* The `wanted` cells, of all that there are, that are nearest to each of at most KERNELS_QUERIES
 * slots, nearest first: those of slot i from found[i * wanted] on. A few of the last may be
 * CELLS_NONE. */
void cells_find(const struct cells *cells, const uint32_t *slots, size_t count, size_t wanted,
                struct cells_work *work, uint16_t *found);

#endif
