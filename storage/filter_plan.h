/* filter_plan.h -- from a filter to the slots that may match it, with the help of the indexes.
 *
 * The plan proposes a set of live slots that holds every match. If it is not exact, the caller asks
 * filter_matches() about each slot it is interested in. Exact or not, the answers are the same;
 * what differs is the work.
 *
 * How the work is kept small: of the conditions of a `must` the one with the fewest postings comes
 * first; the others are read only where something is left; a range whose postings cost more to
 * walk than the candidates cost to verify is left to the payloads. Cardinalities come from the
 * counts in the chunks' headers, one row for 65,536 slots.
 *
 * Memory: the request's arena: the result, and up to three bitmaps for each level of the filter, a
 * min_should one for each binary digit of its length; never one a condition.
 * Threads: that of the transaction. Errors: those of postings.h, STATUS_TIMEOUT, _CANCELLED.
 */
#ifndef FILTER_PLAN_H
#define FILTER_PLAN_H

#include "index/status.h"
#include "storage/arena.h"
#include "storage/filter.h"
#include "storage/payload_index.h"

#include <lmdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a plan reads. Borrows everything. */
struct plan_source {
    MDB_txn *txn;
    MDB_dbi postings;
    const struct payload_index_field *fields; /* those that are not ready are not used */
    size_t fields_count;
    uint32_t slot_end; /* all live slots are below */
    /* Finds the slot of an id: SLOT_NONE if no live point has it. */
    enum status (*slot_of)(void *context, const struct point_id *id, uint32_t *slot,
                           struct error *error);
    void *context;
    /* About how many candidates the caller will verify if the plan is not exact: what a page of a
     * scroll or a search in the graph looks at. 0: all of them (count, delete by filter). */
    uint32_t verifications;
    uint64_t deadline_ns;         /* CLOCK_MONOTONIC; 0: none */
    const atomic_bool *cancelled; /* NULL: never */
    struct arena *arena;
};

struct filter_plan {
    uint64_t *words;   /* bit per slot, whole words; bits from slot_end on are 0 */
    uint32_t slot_end; /* that of the source */
    uint32_t count;    /* bits set; if not exact, no more than a bound on how many match */
    bool is_exact;     /* words is precisely what matches; else some that match not may be set */
};

/* filter NULL: all live slots. */
MUST_CHECK enum status filter_plan_create(const struct filter *filter,
                                          const struct plan_source *source,
                                          struct filter_plan *plan, struct error *error);

#endif
