/* point_selector.h -- which slots an operation is about, resolved in the writer's transaction. */
#ifndef POINT_SELECTOR_H
#define POINT_SELECTOR_H

#include "storage/write_context.h"

enum selector_missing {
    SELECTOR_MISSING_SKIP, /* an id that does not exist is passed over */
    SELECTOR_MISSING_FAIL, /* ... is STATUS_NOT_FOUND */
};

struct selected_slots {
    uint32_t *slots; /* ascending, each once; in the context's scratch arena */
    size_t count;
};

/* The transaction must hold all earlier operations of the job: flush before. */
MUST_CHECK enum status point_selector_resolve(struct write_context *context,
                                              const struct point_selector *selector,
                                              enum selector_missing missing,
                                              struct selected_slots *selected, struct error *error);

#endif
