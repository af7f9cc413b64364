/* write_admission.h -- which writes the state of collection, disk and memory lets in.
 *
 * Decided twice by the same functions: by the writer, whose word counts, and of writes whose
 * failure nobody would hear of when they are submitted. Threads: any.
 */
#ifndef WRITE_ADMISSION_H
#define WRITE_ADMISSION_H

#include "storage/collection_internal.h"

/* STATUS_UNAVAILABLE if the collection is read-only. */
MUST_CHECK enum status write_admission_collection(struct collection *collection,
                                                  struct error *error);

/* True if jobs of so many bytes may not fit: the disk is nearly full, and so is the file inside. */
bool write_admission_is_space_low(struct collection *collection, uint64_t bytes);

/* STATUS_NOT_FOUND for a collection that was deleted, STATUS_NO_SPACE for a job that does not only
 * remove while space is low. */
MUST_CHECK enum status write_admission_job(const struct collection *collection,
                                           const struct write_job *job, bool is_space_low,
                                           struct error *error);

/* What a write is told that needs a new slot while memory is low: STATUS_NO_MEMORY. */
MUST_CHECK enum status write_admission_no_slot(const struct storage *storage, struct error *error);

/* How many slots the job may take, counted no further than beyond `most`. Ids that come twice, and
 * vectors that stay as they are, count as well; a filter, which may pick none or all, counts one.
 */
uint64_t write_admission_count_slots(const struct write_job *job, uint64_t most);

/* All of it for a job behind `queued_bytes` of others, as a writer would decide if it ran now. Of
 * memory it assumes that each point takes a slot: which do not, only the writer finds out. */
MUST_CHECK enum status write_admission_ahead(struct collection *collection,
                                             const struct write_job *job, size_t queued_bytes,
                                             struct error *error);

#endif
