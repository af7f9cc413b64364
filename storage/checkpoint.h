/* checkpoint.h -- the graph files of a collection: caches, written by builders and at the end.
 *
 * slots.bin beside them says which slots live, so that a start need not read all rows
 * (slot_file.h). Two files a vector, graph-<number>.bin and, for what changed since, .delta; their
 * content is index/'s (vector_index_save), and they say up to which operation of which incarnation
 * they know the collection. What is missing, torn or of another life is ignored: the graph is built
 * again while exact search answers.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "storage/collection_internal.h"

/* Writes a graph file of each vector, whole or a delta as the index wants it: temporary name,
 * fsync, rename, fsync of the folder. The caller holds is_maintained. */
MUST_CHECK enum status checkpoint_save(struct collection *collection, struct error *error);

/* Filling the fresh indexes of a collection that nobody shares yet, while the data file is opened.
 */
struct checkpoint_load {
    struct collection *collection;
    uint64_t
        operations[COLLECTION_VECTORS_MAX]; /* what each file covers; 0: there was none of use */
    pthread_t thread;
    bool has_thread;
    enum status status;
    struct error error;
};

void checkpoint_load_begin(struct checkpoint_load *load, struct collection *collection);
/* Waits for the end. An index whose file was of no use is empty. */
MUST_CHECK enum status checkpoint_load_end(struct checkpoint_load *load, struct error *error);

#endif
