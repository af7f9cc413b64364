/* write_group.h -- runs the jobs that wait for one collection in one transaction: one fsync.
 *
 * Each job is a child transaction and succeeds or fails by itself; one that is alone needs no
 * child. A group for which memory or the map lacks is run again job by job. After the commit its
 * effects are published to memory; only then is a job done. A failed commit publishes nothing. When
 * the map is full it is grown and the group runs again: jobs are pure functions of the state.
 *
 * Threads: the writer that holds the collection.
 */
#ifndef WRITE_GROUP_H
#define WRITE_GROUP_H

#include "storage/write_context.h"

/* Runs the jobs (linked by next; may be NULL: then only a step of index building) and calls done
 * for each. */
void write_group_run(struct write_context *context, struct collection *collection,
                     struct write_job *jobs);

#endif
