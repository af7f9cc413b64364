/* registry.c -- the collections by name, in memory: a sorted array, since names are listed in order
 * and looked up far more often than they change. */
#include "storage/collection_internal.h"
#include "storage/storage_internal.h"

#include <stdlib.h>
#include <string.h>

/* The place of name, or where it would be. */
static size_t find_place(const struct storage *storage, const char *name) {
    size_t low = 0, high = storage->entries_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(storage->entries[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct registry_entry *registry_find(const struct storage *storage, const char *name) {
    size_t place = find_place(storage, name);
    bool is_found =
        place < storage->entries_count && strcmp(storage->entries[place]->name, name) == 0;
    return is_found ? storage->entries[place] : NULL;
}

static void free_entry(struct registry_entry *entry) {
    if (!entry)
        return;
    collection_config_release(entry->config);
    free(entry->name);
    free(entry->damage);
    free(entry);
}

struct registry_entry *registry_add(struct storage *storage,
                                    const struct catalogue_record *record) {
    if (storage->entries_count == storage->entries_capacity) {
        size_t capacity = storage->entries_capacity > 0 ? storage->entries_capacity * 2 : 64;
        struct registry_entry **grown =
            realloc(storage->entries, capacity * sizeof(*storage->entries));
        if (!grown)
            return NULL;
        storage->entries = grown;
        storage->entries_capacity = capacity;
    }
    struct registry_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->name = strndup(record->name, record->name_length);
    entry->config = collection_config_create(&record->config);
    if (!entry->name || !entry->config) {
        free_entry(entry);
        return NULL;
    }
    entry->number = record->number;
    entry->incarnation = record->incarnation;
    entry->next_vector = record->next_vector;
    size_t place = find_place(storage, entry->name);
    memmove(&storage->entries[place + 1], &storage->entries[place],
            (storage->entries_count - place) * sizeof(*storage->entries));
    storage->entries[place] = entry;
    storage->entries_count++;
    return entry;
}

void registry_remove(struct storage *storage, struct registry_entry *entry) {
    size_t place = find_place(storage, entry->name);
    storage->entries_count--;
    memmove(&storage->entries[place], &storage->entries[place + 1],
            (storage->entries_count - place) * sizeof(*storage->entries));
    free_entry(entry);
}

void registry_free(struct storage *storage) {
    for (size_t i = 0; i < storage->entries_count; i++)
        free_entry(storage->entries[i]);
    free(storage->entries);
    storage->entries = NULL;
    storage->entries_count = 0;
}
