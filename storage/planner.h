/* planner.h -- what planning a filter works with: sets to fill, and postings to fill them from.
 *
 * For filter_plan.c and plan_condition.c only. Sets come from the request's arena and are handed
 * back for reuse, so memory follows the depth of a filter, not its length.
 */
#ifndef PLANNER_H
#define PLANNER_H

#include "storage/filter_plan.h"
#include "storage/postings.h"
#include "storage/slot_set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct planner {
    const struct plan_source *source;
    struct posting_walk walk;
    struct slot_set *live;  /* all live slots; NULL until they are asked for */
    struct slot_set *spare; /* sets that were handed back */
    uint32_t steps;         /* until the clock is looked at again */
    struct error *error;
};

/* What is known about the slots that satisfy a condition: they lie in set. */
struct plan_part {
    struct slot_set *set; /* owned, to be handed back; NULL: all live slots */
    bool is_exact;        /* every slot of the set satisfies it */
};

MUST_CHECK enum status planner_begin(struct planner *planner, const struct plan_source *source,
                                     struct error *error);
void planner_end(struct planner *planner);

/* An empty set. */
MUST_CHECK enum status planner_take(struct planner *planner, struct slot_set **set);
void planner_give(struct planner *planner, struct slot_set *set); /* accepts NULL */

/* All live slots; the planner's own, not to be changed. */
MUST_CHECK enum status planner_live(struct planner *planner, const struct slot_set **live);

/* Counts one step of work. STATUS_TIMEOUT or _CANCELLED if it is time to stop. */
MUST_CHECK enum status planner_step(struct planner *planner);

/* Adds the slots of a range of values to set. Chunks that `within` (NULL: all) has nothing of are
 * left out. Gives up after steps_max chunks: *is_complete is false, and set holds a part. */
MUST_CHECK enum status planner_add(struct planner *planner, const struct posting_range *range,
                                   const struct slot_set *within, uint64_t steps_max,
                                   struct slot_set *set, bool *is_complete);

/* Adds the slots of a MARK class of a field; *any tells whether there were some. */
MUST_CHECK enum status planner_add_mark(struct planner *planner, uint16_t field,
                                        enum posting_class class, const struct slot_set *within,
                                        struct slot_set *set, bool *any);

/* How many slots a range of values has by the headers of its first steps_max chunks. */
MUST_CHECK enum status planner_count(struct planner *planner, const struct posting_range *range,
                                     uint64_t steps_max, uint64_t *count);

/* How many chunks may be walked before it is cheaper to look at the payloads of `within` (NULL: of
 * all slots), or of as many as the caller is going to look at. */
uint64_t planner_budget(const struct planner *planner, const struct slot_set *within);

/* True if the budget allows so many steps. */
bool planner_affords(const struct planner *planner, const struct slot_set *within, uint64_t steps);

#endif
