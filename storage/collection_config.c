#include "storage/collection_config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const struct vector_config *collection_config_vector(const struct collection_config *config,
                                                     const char *name) {
    for (size_t i = 0; i < config->vectors_count; i++)
        if (strcmp(config->vectors[i].name, name) == 0)
            return &config->vectors[i];
    return NULL;
}

struct shared_config *collection_config_create(const struct collection_config *config) {
    size_t bytes = sizeof(struct shared_config) +
                   config->vectors_count * sizeof(struct vector_config) + config->document_length +
                   1;
    for (size_t i = 0; i < config->vectors_count; i++)
        bytes += strlen(config->vectors[i].name) + 1;
    struct shared_config *shared = malloc(bytes);
    if (!shared)
        return NULL;
    struct vector_config *vectors = (struct vector_config *)(shared + 1);
    char *text = (char *)(vectors + config->vectors_count);
    for (size_t i = 0; i < config->vectors_count; i++) {
        size_t length = strlen(config->vectors[i].name) + 1;
        vectors[i] = config->vectors[i];
        vectors[i].name = memcpy(text, config->vectors[i].name, length);
        text += length;
    }
    if (config->document_length > 0)
        memcpy(text, config->document, config->document_length);
    text[config->document_length] = '\0';
    shared->config = (struct collection_config){.vectors = vectors,
                                                .vectors_count = config->vectors_count,
                                                .document = text,
                                                .document_length = config->document_length};
    atomic_init(&shared->references, 1);
    return shared;
}

struct shared_config *collection_config_acquire(struct shared_config *shared) {
    atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
    return shared;
}

void collection_config_release(struct shared_config *shared) {
    if (!shared)
        return;
    unsigned before = atomic_fetch_sub_explicit(&shared->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(shared);
}
