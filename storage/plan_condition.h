/* plan_condition.h -- what the indexes know about one condition on a payload or an id.
 *
 * One function a kind of condition. A field that is indexed under another class than the condition
 * asks for still helps: an element that its class did not take is marked POSTING_OTHER.
 */
#ifndef PLAN_CONDITION_H
#define PLAN_CONDITION_H

#include "storage/planner.h"

/* Plans any condition but NESTED and FILTER. Only slots of `within` (NULL: all) are asked for; what
 * the part says about others means nothing. */
MUST_CHECK enum status plan_condition(struct planner *planner, const struct condition *condition,
                                      const struct slot_set *within, struct plan_part *part);

/* About how many slots satisfy it, at most; UINT64_MAX if nothing is known. Cheap. */
MUST_CHECK enum status plan_condition_estimate(struct planner *planner,
                                               const struct condition *condition,
                                               uint64_t *estimate);

#endif
