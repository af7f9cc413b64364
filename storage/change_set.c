#include "storage/change_set.h"
#include "storage/collection_internal.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CHANGES_FIRST = 256,
    CHANGES_KEPT = 1 << 16, /* items an array is kept for; a larger one took one group's memory */
};

void change_set_free(struct change_set *set) {
    free(set->slots);
    free(set->vectors);
    *set = (struct change_set){0};
}

static void *shrink(void *items, size_t *capacity) {
    if (*capacity <= CHANGES_KEPT)
        return items;
    free(items);
    *capacity = 0;
    return NULL;
}

void change_set_clear(struct change_set *set) {
    set->slots = shrink(set->slots, &set->slots_capacity);
    set->vectors = shrink(set->vectors, &set->vectors_capacity);
    set->slots_count = set->vectors_count = set->births_count = set->deaths_count = 0;
    set->has_moved = false;
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
    set->has_moved |= values == NULL;
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

/* The numbers of a vector of a slot that was born. */
static enum status find_values(const struct changed_vector *vector,
                               const struct slot_change *change,
                               const struct collection *collection, MDB_txn *committed,
                               const float **values, struct error *error) {
    *values = vector->values;
    if (*values)
        return STATUS_OK;
    if (!committed)
        return error_set(error, STATUS_UNAVAILABLE, "what was committed cannot be read");
    return vector_blocks_read(committed, collection->env.dbis[COLLECTION_DBI_VECTORS],
                              &collection->vectors[vector->ordinal].layout, change->slot,
                              change->operation, NULL, values, error);
}

static enum status publish_birth(const struct change_set *set, const struct slot_change *change,
                                 struct collection *collection, MDB_txn *committed,
                                 struct error *error) {
    enum status result = STATUS_OK;
    for (size_t i = 0; i < change->vectors_count; i++) {
        const struct changed_vector *vector = &set->vectors[change->first_vector + i];
        const float *values;
        enum status status = find_values(vector, change, collection, committed, &values, error);
        if (status == STATUS_OK)
            vector_index_put(collection->vectors[vector->ordinal].index, change->slot, values,
                             change->key);
        else
            result = status;
    }
    slots_born(collection->slots, change->slot, change->operation);
    return result;
}

enum status change_set_publish(const struct change_set *set, struct collection *collection,
                               MDB_txn *committed, struct error *error) {
    enum status result = STATUS_OK;
    for (size_t i = 0; i < set->slots_count; i++) {
        const struct slot_change *change = &set->slots[i];
        if (!change->is_birth) {
            slots_died(collection->slots, change->slot, change->operation);
            slot_pool_add_dead(&collection->pool, change->slot, change->operation);
            continue;
        }
        enum status status = publish_birth(set, change, collection, committed, error);
        if (status != STATUS_OK)
            result = status;
    }
    return result;
}
