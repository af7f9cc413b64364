/* checkpoint.h -- the graph files of a collection: caches, written by builders and at the end.
 *
 * One file a vector, graph-<number>.bin; its content is index/'s (vector_index_save), and it says
 * up to which operation of which incarnation it knows the collection. A file that is missing, torn
 * or of another life is ignored: the graph is built again while exact search answers.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "storage/collection_internal.h"

/* Writes all graph files: temporary name, fsync, rename, fsync of the folder. The caller holds
 * is_maintained. */
MUST_CHECK enum status checkpoint_save(struct collection *collection, struct error *error);

/* Fills the (fresh) index from its file. *operation is what it covers, 0 if there was no usable
 * file; the index is then as it was, or has been made anew. STATUS_CORRUPT if the file is ahead of
 * the collection: then the data file is an old copy, and must not be served as current. */
MUST_CHECK enum status checkpoint_load(struct collection *collection,
                                       struct collection_vector *vector, uint64_t *operation,
                                       struct error *error);

#endif
