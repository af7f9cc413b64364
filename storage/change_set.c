#include "storage/change_set.h"
#include "storage/collection_internal.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CHANGES_FIRST = 256,
};

void change_set_free(struct change_set *set) {
    free(set->slots);
    free(set->vectors);
    *set = (struct change_set){0};
}

void change_set_clear(struct change_set *set) {
    set->slots_count = set->vectors_count = set->births_count = set->deaths_count = 0;
}

/* Makes room for one more item; returns the array, which may have moved, or NULL. */
static void *grow(void *items, size_t count, size_t *capacity, size_t item_bytes) {
    if (count < *capacity)
        return items;
    size_t wanted = *capacity > 0 ? *capacity * 2 : CHANGES_FIRST;
    void *grown = realloc(items, wanted * item_bytes);
    if (grown)
        *capacity = wanted;
    return grown;
}

static enum status add(struct change_set *set, const struct slot_change *change,
                       struct error *error) {
    void *grown = grow(set->slots, set->slots_count, &set->slots_capacity, sizeof(*set->slots));
    if (!grown)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    set->slots = grown;
    set->slots[set->slots_count++] = *change;
    return STATUS_OK;
}

enum status change_set_add_birth(struct change_set *set, uint32_t slot, uint64_t operation,
                                 uint64_t key, struct error *error) {
    const struct slot_change change = {.slot = slot,
                                       .is_birth = true,
                                       .operation = operation,
                                       .key = key,
                                       .first_vector = set->vectors_count};
    enum status status = add(set, &change, error);
    set->births_count += status == STATUS_OK;
    return status;
}

enum status change_set_add_vector(struct change_set *set, uint16_t ordinal, const float *values,
                                  struct error *error) {
    assert(set->slots_count > 0 && set->slots[set->slots_count - 1].is_birth);
    void *grown =
        grow(set->vectors, set->vectors_count, &set->vectors_capacity, sizeof(*set->vectors));
    if (!grown)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    set->vectors = grown;
    set->vectors[set->vectors_count++] =
        (struct changed_vector){.ordinal = ordinal, .values = values};
    set->slots[set->slots_count - 1].vectors_count++;
    return STATUS_OK;
}

enum status change_set_add_death(struct change_set *set, uint32_t slot, uint64_t operation,
                                 struct error *error) {
    const struct slot_change change = {.slot = slot, .operation = operation};
    enum status status = add(set, &change, error);
    set->deaths_count += status == STATUS_OK;
    return status;
}

void change_set_undo(struct change_set *set, struct collection *collection, size_t slots_count,
                     uint32_t next_slot) {
    while (set->slots_count > slots_count) {
        const struct slot_change *change = &set->slots[--set->slots_count];
        if (!change->is_birth) {
            set->deaths_count--;
            continue;
        }
        set->births_count--;
        set->vectors_count = change->first_vector;
        if (change->slot < next_slot)
            slot_pool_give(&collection->pool, change->slot);
    }
}

enum status change_set_reserve(const struct change_set *set, struct collection *collection,
                               uint32_t next_slot, struct error *error) {
    enum status status = slots_reserve(collection->slots, next_slot, error);
    if (status == STATUS_OK)
        status = slot_pool_reserve(&collection->pool, next_slot, set->deaths_count, error);
    for (size_t i = 0; i < collection->vectors_count && status == STATUS_OK; i++)
        status = vector_index_reserve(collection->vectors[i].index, next_slot, error);
    return status;
}

void change_set_publish(const struct change_set *set, struct collection *collection) {
    for (size_t i = 0; i < set->slots_count; i++) {
        const struct slot_change *change = &set->slots[i];
        if (!change->is_birth) {
            slots_died(collection->slots, change->slot, change->operation);
            slot_pool_add_dead(&collection->pool, change->slot, change->operation);
            continue;
        }
        for (size_t k = 0; k < change->vectors_count; k++) {
            const struct changed_vector *vector = &set->vectors[change->first_vector + k];
            vector_index_put(collection->vectors[vector->ordinal].index, change->slot,
                             vector->values, change->key);
        }
        slots_born(collection->slots, change->slot, change->operation);
    }
}
