#include "storage/filter_plan.h"

#include "storage/plan_condition.h"

#include <assert.h>
#include <string.h>

enum {
    ORDERED_CONDITIONS_MAX = 64, /* longer lists are taken as they come */
    COUNTER_DIGITS_MAX = 13,     /* counts up to FILTER_CONDITIONS_MAX */
};
static_assert(FILTER_CONDITIONS_MAX < 1 << COUNTER_DIGITS_MAX, "min_should can count");

/* Where in a filter we are. */
struct place {
    struct planner *planner;
    const struct slot_set *within;    /* only its slots are asked for; NULL: all */
    const struct payload_path *array; /* NULL, or inside a nested condition: path of the array */
    unsigned depth;
};

static enum status plan_filter(const struct place *place, const struct filter *filter,
                               struct plan_part *part);
static enum status plan_any(const struct place *place, const struct condition *condition,
                            struct plan_part *part);

static const struct plan_part everything = {.set = NULL, .is_exact = true};
static const struct plan_part unknown = {.set = NULL, .is_exact = false};

static void drop(struct planner *planner, struct plan_part *part) {
    planner_give(planner, part->set);
    *part = unknown;
}

/* Nothing is left: whatever else is asked, nothing more will match. */
static bool is_settled(const struct plan_part *part) {
    return part->set && slot_set_is_empty(part->set);
}

/* ---- And, or, not --------------------------------------------------------------------------- */

/* part becomes what is in both; takes other. */
static void intersect(struct planner *planner, struct plan_part *part, struct plan_part *other) {
    part->is_exact &= other->is_exact;
    if (!part->set) {
        part->set = other->set;
        other->set = NULL;
    } else if (other->set) {
        slot_set_and(part->set, other->set);
    }
    drop(planner, other);
    if (is_settled(part))
        part->is_exact = true;
}

/* part becomes what is in either; takes other. */
static void unite(struct planner *planner, struct plan_part *part, struct plan_part *other) {
    if (!other->set) {
        drop(planner, part);
        part->is_exact = other->is_exact;
        return;
    }
    part->is_exact &= other->is_exact;
    slot_set_or(part->set, other->set);
    drop(planner, other);
}

/* part loses what is in other; takes other. What may match takes nothing away for certain. */
static enum status subtract(struct planner *planner, struct plan_part *part,
                            struct plan_part *other) {
    enum status status = STATUS_OK;
    if (!other->is_exact) {
        if (!other->set || !part->set || slot_set_meets(part->set, other->set))
            part->is_exact = false;
    } else if (!other->set) {
        drop(planner, part);
        status = planner_take(planner, &part->set);
    } else {
        const struct slot_set *live;
        if (!part->set) {
            status = planner_live(planner, &live);
            if (status == STATUS_OK)
                status = planner_take(planner, &part->set);
            if (status == STATUS_OK)
                slot_set_or(part->set, live);
        }
        if (status == STATUS_OK)
            slot_set_and_not(part->set, other->set);
    }
    drop(planner, other);
    if (is_settled(part))
        part->is_exact = true;
    return status;
}

/* ---- The order of conditions ---------------------------------------------------------------- */

/* Sums the estimates of a list that is not too long, or takes their least. */
static enum status estimate_list(struct planner *planner, const struct condition_list *list,
                                 bool is_sum, uint64_t *estimate) {
    *estimate = is_sum ? 0 : UINT64_MAX;
    for (size_t i = 0; i < list->count && i < ORDERED_CONDITIONS_MAX; i++) {
        uint64_t one;
        enum status status = plan_condition_estimate(planner, &list->items[i], &one);
        if (status != STATUS_OK)
            return status;
        if (!is_sum)
            *estimate = one < *estimate ? one : *estimate;
        else if (__builtin_add_overflow(*estimate, one, estimate))
            *estimate = UINT64_MAX;
    }
    return STATUS_OK;
}

/* A filter is at most as large as what must hold, and as all that should. One level is looked at:
 * estimates are to cost less than what they save. */
static enum status estimate_any(struct planner *planner, const struct condition *condition,
                                uint64_t *estimate) {
    if (condition->kind != CONDITION_FILTER)
        return plan_condition_estimate(planner, condition, estimate);
    const struct filter *filter = condition->filter;
    uint64_t sum = UINT64_MAX;
    enum status status = estimate_list(planner, &filter->must, false, estimate);
    if (status == STATUS_OK && filter->should.count &&
        filter->should.count <= ORDERED_CONDITIONS_MAX)
        status = estimate_list(planner, &filter->should, true, &sum);
    *estimate = sum < *estimate ? sum : *estimate;
    return status;
}

/* The order in which the conditions of a must are planned: fewest slots first. */
static enum status order_conditions(const struct place *place, const struct condition_list *list,
                                    const struct condition **order) {
    uint64_t estimates[ORDERED_CONDITIONS_MAX] = {0};
    assert(list->count <= ORDERED_CONDITIONS_MAX);
    for (size_t i = 0; i < list->count; i++) {
        uint64_t estimate;
        enum status status = estimate_any(place->planner, &list->items[i], &estimate);
        if (status != STATUS_OK)
            return status;
        size_t at = i;
        for (; at > 0 && estimates[at - 1] > estimate; at--) {
            estimates[at] = estimates[at - 1];
            order[at] = order[at - 1];
        }
        estimates[at] = estimate;
        order[at] = &list->items[i];
    }
    return STATUS_OK;
}

/* ---- Clauses -------------------------------------------------------------------------------- */

/* The place of a condition that is ANDed to what part knows already. */
static struct place beside(const struct place *place, const struct plan_part *part) {
    struct place narrower = *place;
    if (part->set)
        narrower.within = part->set;
    return narrower;
}

static enum status plan_must(const struct place *place, const struct condition_list *list,
                             struct plan_part *part) {
    const struct condition *order[ORDERED_CONDITIONS_MAX];
    bool is_ordered = list->count > 1 && list->count <= ORDERED_CONDITIONS_MAX && !place->array;
    enum status status = is_ordered ? order_conditions(place, list, order) : STATUS_OK;
    for (size_t i = 0; i < list->count && status == STATUS_OK && !is_settled(part); i++) {
        struct plan_part other;
        struct place here = beside(place, part);
        status = plan_any(&here, is_ordered ? order[i] : &list->items[i], &other);
        if (status == STATUS_OK)
            intersect(place->planner, part, &other);
    }
    return status;
}

static enum status plan_should(const struct place *place, const struct condition_list *list,
                               struct plan_part *part) {
    struct plan_part any = {.set = NULL, .is_exact = true};
    struct place here = beside(place, part);
    enum status status = planner_take(place->planner, &any.set);
    for (size_t i = 0; i < list->count && status == STATUS_OK && any.set; i++) {
        struct plan_part other;
        status = plan_any(&here, &list->items[i], &other);
        if (status == STATUS_OK)
            unite(place->planner, &any, &other);
    }
    if (status == STATUS_OK)
        intersect(place->planner, part, &any);
    return status;
}

static enum status plan_must_not(const struct place *place, const struct condition_list *list,
                                 struct plan_part *part) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < list->count && status == STATUS_OK && !is_settled(part); i++) {
        struct plan_part other;
        struct place here = beside(place, part);
        status = plan_any(&here, &list->items[i], &other);
        if (status == STATUS_OK)
            status = subtract(place->planner, part, &other);
    }
    return status;
}

/* ---- Counting ------------------------------------------------------------------------------- */

/* How many conditions hold, for every slot at once: digit i of a slot's count is its bit in set
 * i, so one pass of ANDs and XORs adds a condition for 64 slots at a time. */
struct counter {
    struct slot_set *digits[COUNTER_DIGITS_MAX];
    size_t count;
};

static void counter_add(struct counter *counter, const struct slot_set *set) {
    for (uint32_t chunk = 0; chunk < set->chunks; chunk++) {
        if (!set->occupied[chunk])
            continue;
        const size_t first = (size_t)chunk * POSTING_CHUNK_WORDS;
        for (size_t i = first; i < first + POSTING_CHUNK_WORDS; i++) {
            uint64_t carry = set->words[i];
            for (size_t digit = 0; carry; digit++) {
                assert(digit < counter->count);
                uint64_t *word = &counter->digits[digit]->words[i];
                uint64_t both = *word & carry;
                *word ^= carry;
                carry = both;
            }
        }
        for (size_t digit = 0; digit < counter->count; digit++)
            counter->digits[digit]->occupied[chunk] = true;
    }
}

/* Adds to set the slots whose count is at least `least` (>= 1). */
static void counter_at_least(const struct counter *counter, size_t least, struct slot_set *set) {
    for (uint32_t chunk = 0; chunk < set->chunks; chunk++) {
        if (!counter->digits[0]->occupied[chunk])
            continue;
        const size_t first = (size_t)chunk * POSTING_CHUNK_WORDS;
        for (size_t i = first; i < first + POSTING_CHUNK_WORDS; i++) {
            uint64_t above = 0, equal = ~UINT64_C(0);
            for (size_t digit = counter->count; digit-- > 0;) {
                uint64_t word = counter->digits[digit]->words[i];
                if (least >> digit & 1) {
                    equal &= word;
                } else {
                    above |= equal & word;
                    equal &= ~word;
                }
            }
            set->words[i] |= above | equal;
        }
        set->occupied[chunk] = true;
    }
}

/* Counts the conditions that hold. Those of which nothing is known may hold: *missing. */
static enum status count_conditions(const struct place *place, const struct condition_list *list,
                                    struct counter *counter, size_t *missing, bool *is_exact) {
    enum status status = STATUS_OK;
    while (status == STATUS_OK && list->count >> counter->count) {
        assert(counter->count < COUNTER_DIGITS_MAX);
        status = planner_take(place->planner, &counter->digits[counter->count++]);
    }
    *missing = 0;
    *is_exact = true;
    for (size_t i = 0; i < list->count && status == STATUS_OK; i++) {
        struct plan_part other;
        status = plan_any(place, &list->items[i], &other);
        if (status != STATUS_OK)
            break;
        *is_exact &= other.is_exact;
        if (other.set)
            counter_add(counter, other.set);
        else
            ++*missing;
        drop(place->planner, &other);
    }
    return status;
}

static enum status plan_min_should(const struct place *place, const struct filter *filter,
                                   struct plan_part *part) {
    struct planner *planner = place->planner;
    struct counter counter = {.count = 0};
    struct plan_part enough = everything;
    struct place here = beside(place, part);
    size_t missing;
    enum status status = STATUS_OK;
    if (filter->min_count == 0)
        return STATUS_OK;
    if (filter->min_count > filter->min_should.count) {
        status = planner_take(planner, &enough.set);
    } else {
        status = count_conditions(&here, &filter->min_should, &counter, &missing, &enough.is_exact);
        if (status == STATUS_OK && missing < filter->min_count) {
            status = planner_take(planner, &enough.set);
            if (status == STATUS_OK)
                counter_at_least(&counter, filter->min_count - missing, enough.set);
        }
    }
    for (size_t i = 0; i < counter.count; i++)
        planner_give(planner, counter.digits[i]);
    if (status == STATUS_OK)
        intersect(planner, part, &enough);
    return status;
}

/* ---- Filters and nested conditions ---------------------------------------------------------- */

static enum status plan_filter(const struct place *place, const struct filter *filter,
                               struct plan_part *part) {
    assert(place->depth < FILTER_DEPTH_MAX);
    *part = everything;
    enum status status = plan_must(place, &filter->must, part);
    if (status == STATUS_OK && filter->should.count && !is_settled(part))
        status = plan_should(place, &filter->should, part);
    if (status == STATUS_OK && filter->has_min_should && !is_settled(part))
        status = plan_min_should(place, filter, part);
    if (status != STATUS_OK || is_settled(part))
        return status;
    /* Inside a nested condition, one element that fails says nothing about the others. */
    return place->array ? STATUS_OK : plan_must_not(place, &filter->must_not, part);
}

/* The path `array[].rest`, or array[] alone without rest. False if it is too long to be indexed, or
 * memory ends. */
static bool join_paths(struct arena *arena, const struct payload_path *array,
                       const struct payload_path *rest, struct payload_path *joined) {
    size_t count = array->count;
    if (count > 1 && array->steps[count - 1].kind == PATH_STEP_ALL)
        count--;
    size_t total = count + 1 + (rest ? rest->count : 0);
    struct path_step *steps =
        total <= PAYLOAD_PATH_STEPS_MAX ? arena_alloc(arena, total * sizeof(*steps)) : NULL;
    if (!steps)
        return false;
    memcpy(steps, array->steps, count * sizeof(*steps));
    steps[count] = (struct path_step){.kind = PATH_STEP_ALL};
    if (rest)
        memcpy(steps + count + 1, rest->steps, rest->count * sizeof(*steps));
    *joined = (struct payload_path){.steps = steps, .count = total};
    return true;
}

/* True if a condition that holds for one element also holds for all values that the elements have
 * together: it asks for some value to be found. */
static bool asks_for_some(const struct condition *condition) {
    switch (condition->kind) {
    case CONDITION_MATCH:
    case CONDITION_MATCH_EXCEPT:
    case CONDITION_RANGE:
    case CONDITION_DATETIME:
    case CONDITION_VALUES_COUNT: /* plan_condition uses it only if it asks for one or more */
        return true;
    case CONDITION_IS_EMPTY:
        return !condition->expected;
    case CONDITION_IS_NULL:
        return condition->expected;
    default:
        return false;
    }
}

/* A condition inside a nested one: what the whole array has narrows down which points come into
 * question, but says nothing about which element has what. */
static enum status plan_inside(const struct place *place, const struct condition *condition,
                               struct plan_part *part) {
    if (condition->kind == CONDITION_HAS_ID || condition->kind == CONDITION_HAS_VECTOR) {
        part->is_exact = true; /* elements have neither */
        return planner_take(place->planner, &part->set);
    }
    struct condition whole = *condition;
    if (!asks_for_some(condition) ||
        !join_paths(place->planner->source->arena, place->array, &condition->path, &whole.path))
        return STATUS_OK;
    enum status status = plan_condition(place->planner, &whole, place->within, part);
    part->is_exact = false;
    return status;
}

static enum status plan_nested(const struct place *place, const struct condition *condition,
                               struct plan_part *part) {
    struct place inside = *place;
    struct payload_path array;
    inside.depth++;
    inside.array = &condition->path;
    if (place->array) {
        if (!join_paths(place->planner->source->arena, place->array, &condition->path, &array))
            return STATUS_OK;
        inside.array = &array;
    }
    enum status status = plan_filter(&inside, condition->filter, part);
    /* What holds for some element each need not hold for one of them. */
    part->is_exact = is_settled(part);
    return status;
}

static enum status plan_any(const struct place *place, const struct condition *condition,
                            struct plan_part *part) {
    struct place inner = *place;
    inner.depth++;
    *part = unknown;
    if (condition->kind == CONDITION_NESTED)
        return plan_nested(place, condition, part);
    if (condition->kind == CONDITION_FILTER)
        return plan_filter(&inner, condition->filter, part);
    if (place->array)
        return plan_inside(place, condition, part);
    return plan_condition(place->planner, condition, place->within, part);
}

enum status filter_plan_create(const struct filter *filter, const struct plan_source *source,
                               struct filter_plan *plan, struct error *error) {
    struct planner planner;
    struct plan_part part = everything;
    enum status status = planner_begin(&planner, source, error);
    if (status != STATUS_OK)
        return status;
    const struct place place = {.planner = &planner};
    const struct slot_set *all;
    if (filter)
        status = plan_filter(&place, filter, &part);
    if (status == STATUS_OK && !part.set) {
        status = planner_live(&planner, &all);
        part.set = planner.live;
    }
    if (status == STATUS_OK) {
        slot_set_cut(part.set, source->slot_end);
        uint32_t count = slot_set_count(part.set);
        *plan = (struct filter_plan){.words = part.set->words,
                                     .slot_end = source->slot_end,
                                     .count = count,
                                     .is_exact = part.is_exact || count == 0};
    }
    planner_end(&planner);
    return status;
}
