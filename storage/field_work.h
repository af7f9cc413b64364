/* field_work.h -- creating, building and dropping payload indexes.
 *
 * Creating and dropping only change the field's record; the work itself is done in bounded steps
 * that writers run between live writes, each in a transaction, so that neither ever waits long. A
 * step that fails is put off by the time alone: no writer waits for it.
 */
#ifndef FIELD_WORK_H
#define FIELD_WORK_H

#include "storage/write_context.h"

enum {
    FIELD_STEP_SLOTS = 4096,      /* a building step when nothing else waits */
    FIELD_STEP_SLOTS_BUSY = 1024, /* ... when writes wait: about 5 ms */
    FIELD_STEP_DELETIONS = 1024,  /* chunks a dropping step deletes */
};

/* The same type on the same path again changes nothing; another type replaces the index. */
MUST_CHECK enum status field_work_create(struct write_context *context,
                                         const struct payload_index_field *field,
                                         struct error *error);
MUST_CHECK enum status field_work_drop(struct write_context *context,
                                       const struct payload_path *path, struct error *error);

/* True if an index is being built or dropped. */
bool field_work_is_pending(const struct write_context *context);

/* One step of the first index that has work. */
MUST_CHECK enum status field_work_step(struct write_context *context, uint32_t slots_max,
                                       struct error *error);

/* True if an index is being built or dropped and a step may run now. */
bool field_work_is_due(const struct write_context *context);

/* After a step that failed, or that could not be begun (error NULL: there is nothing to be told):
 * the next may run after a pause, which doubles up to a minute, and after STATUS_CORRUPT none. A
 * reason is logged once in a row. The writer that holds the collection. */
void field_work_put_off(struct collection *collection, const struct error *error);

/* Steps may run at once again: one succeeded (is_mended), or there is other work than before. */
void field_work_resume(struct collection *collection, bool is_mended);

#endif
