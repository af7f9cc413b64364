/* cells.h -- slots by the centre that is nearest to their codes.
 *
 * What is near a slot lies for the most part in the cells whose centres are near it, and codes of a
 * cell can be compared with many slots in one go (inverted file: Sivic & Zisserman 2003; Jegou et
 * al. 2011; centres by k-means, Lloyd 1982). We keep cells only while slots are linked in bulk, and
 * let them age: a slot that is gone, or has another vector by now, stays where it was put, and
 * whoever reads a list asks the store about each slot.
 *
 * Nearness to a centre is L2 of codes, whatever the metric of the space. Cells lie in regions, some
 * square root of their number: to find the cells near a slot takes a look at all centres of regions
 * and at the cells of the nearest ones (two levels of centres: Nister & Stewenius 2006), so that
 * there may be as many cells as keep them small.
 *
 * Threads: one changes them, with nobody reading; any number read.
 */
#ifndef CELLS_H
#define CELLS_H

#include "index/store.h"

enum {
    CELLS_MAX = 1 << 15,
    CELLS_TOGETHER = 64,     /* slots whose cells are found together */
    CELLS_NONE = UINT16_MAX, /* no cell */
};

struct cell_list {
    uint32_t *slots; /* owned */
    uint32_t count, capacity;
};

/* Centres as rows of codes. Both arrays are owned; the rows are a map of their own. */
struct cell_centres {
    uint8_t *rows;
    struct code_meta *metas;
};

/* Cells that lie beside each other, in space and in their order. */
struct cell_region {
    uint32_t first, count;
};

/* All arrays are owned. The large ones are maps of their own, which go back to the system whole. */
struct cells {
    const struct store *store; /* borrowed */
    struct code_space space;   /* the store's own, but for L2 */
    size_t count;              /* at most CELLS_MAX */
    struct cell_centres centres;
    struct cell_list *lists;
    /* Set by cells_sort. */
    size_t regions_count, region_max; /* cells of the largest */
    struct cell_region *regions;
    struct cell_centres region_centres;
};

/* Makes `count` cells without lists, their centres at slots that are spread evenly over `seeds`.
 * False when memory ends; _free accepts a zeroed struct. */
bool cells_init(struct cells *cells, const struct store *store, const struct code_space *space,
                const uint32_t *seeds, size_t seeds_count, size_t count);
void cells_free(struct cells *cells);

/* Moves each centre to the mean of the slots that were found to be nearest to it, if there are any;
 * a slot for which CELLS_NONE was found is passed over. Cells are to be sorted afterwards. False
 * when memory ends. */
bool cells_move(struct cells *cells, const uint32_t *slots, size_t count, const uint16_t *found);

/* Brings cells without lists into an order that keeps neighbours together, by regions. False when
 * memory ends: then they are to be freed. */
bool cells_sort(struct cells *cells);

/* Adds the slot to a list; false when memory ends. */
bool cells_add(struct cells *cells, uint16_t cell, uint32_t slot);

/* Puts `count` centres from `first` on into the block. */
void cells_take_centres(const struct cells *cells, const struct cell_centres *centres, size_t first,
                        size_t count, struct code_block *block);

/* The `wanted` cells, of all that there are, that are nearest to each of at most CELLS_TOGETHER
 * slots, nearest first: those of slot i from found[i * wanted] on. A cell that lies in a region
 * farther away may be missed, and a few of the last may be CELLS_NONE. False when memory ends
 * (cells_find.c). */
bool cells_find(const struct cells *cells, const uint32_t *slots, size_t count, size_t wanted,
                struct code_block *block, uint16_t *found);

#endif
