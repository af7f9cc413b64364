/* A batch in groups of slots that are near each other: who has which, and which slot is next. All
 * but the measuring is under the lock of claims.
 */
#include "index/hnsw.h"
#include "index/hnsw_bulk.h"

#include <stdlib.h>

/* Hands the next slots of the batch to the group; those that do not wait any more are left out. Two
 * builders may have groups that are neighbours: what the other one has linked by then counts among
 * the candidates. */
static void fill_group(struct hnsw *hnsw, struct hnsw_group *group) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    group->count = group->next = 0;
    while (bulk->turns_next < bulk->slots_count && group->count < HNSW_GROUP_MAX) {
        size_t place = bulk->turns[bulk->turns_next++];
        if (!store_is_waiting(hnsw->store, bulk->slots[place]))
            continue;
        group->slots[group->count] = bulk->slots[place];
        group->found[group->count++] = bulk->found + place * bulk->wanted;
    }
}

/* The place of a group for new slots, made if need be; HNSW_GROUPS_MAX if there is none. */
static size_t find_spent(const struct hnsw *hnsw) {
    struct hnsw_group *const *groups = hnsw->bulk.groups;
    for (size_t i = 0; i < HNSW_GROUPS_MAX; i++) {
        if (!groups[i] || (!groups[i]->is_taken && groups[i]->next == groups[i]->count))
            return i;
    }
    return HNSW_GROUPS_MAX;
}

/* A group with slots that nobody has taken: the owner's, or any. */
static struct hnsw_group *find_left(const struct hnsw *hnsw, const void *owner) {
    struct hnsw_group *const *groups = hnsw->bulk.groups;
    for (size_t i = 0; i < HNSW_GROUPS_MAX && groups[i]; i++) {
        if (!groups[i]->is_taken && groups[i]->next < groups[i]->count &&
            (!owner || groups[i]->owner == owner))
            return groups[i];
    }
    return NULL;
}

/* A group with the next slots of the batch, which are to be measured; NULL if there are none. */
static struct hnsw_group *begin_group(struct hnsw *hnsw) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    size_t place = find_spent(hnsw);
    if (bulk->turns_next >= bulk->slots_count || place == HNSW_GROUPS_MAX)
        return NULL;
    if (!bulk->groups[place])
        bulk->groups[place] = calloc(1, sizeof(*bulk->groups[place]));
    struct hnsw_group *group = bulk->groups[place];
    if (!group || !hnsw_group_reserve(group, hnsw)) {
        bulk->turns_next = bulk->slots_count; /* these are walked for */
        return NULL;
    }
    fill_group(hnsw, group);
    return group;
}

/* Claims the group's next slot that waits; false if there is none. Under the lock of claims. */
static bool claim_next(struct hnsw *hnsw, struct hnsw_group *group, uint32_t *slot) {
    while (group->next < group->count) {
        *slot = group->slots[group->next++];
        if (store_claim_slot(hnsw->store, *slot))
            return true;
    }
    return false;
}

struct hnsw_group *hnsw_bulk_claim(struct hnsw *hnsw, struct index_scratch *scratch,
                                   uint32_t *slot) {
    struct hnsw_bulk *bulk = &hnsw->bulk;
    struct hnsw_group *group = NULL;
    bool is_claimed = false;
    pthread_mutex_lock(&hnsw->claim_lock);
    while (!is_claimed && !bulk->is_changing && bulk->phase == HNSW_BULK_LINKING) {
        bool is_new = false;
        group = find_left(hnsw, scratch);
        if (!group) {
            group = begin_group(hnsw);
            is_new = group;
        }
        if (!group)
            group = find_left(hnsw, NULL);
        if (!group)
            break;
        group->is_taken = true;
        group->owner = scratch;
        if (is_new) {
            pthread_mutex_unlock(&hnsw->claim_lock);
            hnsw_group_measure(group, hnsw, scratch);
            pthread_mutex_lock(&hnsw->claim_lock);
        }
        is_claimed = claim_next(hnsw, group, slot);
        group->is_taken = is_claimed;
    }
    pthread_mutex_unlock(&hnsw->claim_lock);
    return is_claimed ? group : NULL;
}

void hnsw_bulk_return(struct hnsw *hnsw, struct hnsw_group *group) {
    pthread_mutex_lock(&hnsw->claim_lock);
    group->is_taken = false;
    pthread_mutex_unlock(&hnsw->claim_lock);
}
