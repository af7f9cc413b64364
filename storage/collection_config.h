/* collection_config.h -- what a collection is: its vectors by name, and the document that describes
 * it to users.
 *
 * Storage acts on the typed members; the rest of what a user configured is kept as JSON text, which
 * only api reads. A configuration is immutable once published: a change makes a new one.
 */
#ifndef COLLECTION_CONFIG_H
#define COLLECTION_CONFIG_H

#include "index/status.h"
#include "index/vector_index.h"
#include "storage/arena.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    COLLECTION_NAME_MAX = 255, /* characters; 1,020 bytes of UTF-8 */
    COLLECTION_NAME_BYTES_MAX = 1020,
    VECTOR_NAME_MAX = 200,        /* bytes */
    COLLECTION_VECTORS_MAX = 256, /* named vectors of a collection */
    COLLECTION_DOCUMENT_MAX = 1 << 20,
};

struct vector_config {
    const char *name; /* "" is the unnamed vector */
    uint16_t number;  /* its number on disk, given by storage, never reused in a collection */
    uint32_t dimension;
    enum distance distance;
    uint32_t m;                   /* 0: default */
    uint32_t ef_construct;        /* 0: default */
    uint64_t full_scan_threshold; /* kilobytes of f32 below which a search scans */
    enum index_profile profile;   /* of its graph */
};

struct collection_config {
    const struct vector_config *vectors;
    size_t vectors_count;
    const char *document; /* JSON object: all of the configuration as the API shows it */
    size_t document_length;
};

/* The vector of this name, or NULL. */
const struct vector_config *collection_config_vector(const struct collection_config *config,
                                                     const char *name);

/* A configuration with its own memory, shared by those who read it. */
struct shared_config {
    atomic_uint references;
    struct collection_config config; /* what it points at lies in the same allocation */
};

/* Copies config; the caller holds the first reference. NULL out of memory. */
struct shared_config *collection_config_create(const struct collection_config *config);
struct shared_config *collection_config_acquire(struct shared_config *shared);
void collection_config_release(struct shared_config *shared); /* accepts NULL */

#endif
