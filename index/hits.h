/* hits.h -- lists of hits that are put in order, or cut to the nearest.
 *
 * Both spread the hits over buckets by distance, which takes a time that grows with their number
 * alone where distances are spread evenly, as those of neighbours are; where they are not, a
 * general sort steps in. Distances are numbers or infinite. Any thread.
 */
#ifndef HITS_H
#define HITS_H

#include "index/top_k.h"

/* Nearest first, equal ones by slot. */
void hits_sort(struct hit *hits, size_t count);

/* Brings about `max` of the nearest to the front, in no order, and returns how many: what lies
 * within a limit that a sample tells, so some more or less, at most twice as many; all if there are
 * not more than `max`. *limit: none that is kept lies beyond; it stays as it is if all were kept.
 */
size_t hits_thin_out(struct hit *hits, size_t count, size_t max, float *limit);

#endif
