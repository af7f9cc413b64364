/* collection_verify.h -- reads every record of a collection and says what does not fit.
 *
 * Checks each checksum; that ids and rows name each other; that each row has its vectors, and that
 * the graphs of these know its slot and no others do; that the postings are those that the payloads
 * call for, no more and no fewer; that the counts agree; and, when nothing waits to be linked, that
 * the graphs are sound. One snapshot, so it may run on a collection in use; it then holds that
 * snapshot for as long as it takes.
 */
#ifndef COLLECTION_VERIFY_H
#define COLLECTION_VERIFY_H

#include "storage/collection.h"

/* Any thread that may read. STATUS_CORRUPT if something was reported; other statuses if it could
 * not be carried out. */
MUST_CHECK enum status collection_verify(struct collection *collection, storage_problem_fn *report,
                                         void *context, struct error *error);

#endif
