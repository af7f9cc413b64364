/* collection_databases.h -- the databases of a collection, and of which all records are asked for
 * before the collection is opened.
 *
 * Those in which a lookup that finds nothing is an answer: an id that is not there, a value that no
 * point has, an index that was never made. A record whose key was damaged would be such a lookup's
 * nothing. A row is looked up by a slot that lives, and a block of vectors by the slot of a row:
 * there, nothing is an error, which is told when somebody asks (that each row lies under a slot
 * that lives, collection_load sees to).
 */
#ifndef COLLECTION_DATABASES_H
#define COLLECTION_DATABASES_H

#include "storage/lmdb_check.h"
#include "storage/point_rows.h"

extern const struct lmdb_check_database collection_databases[COLLECTION_DBI_COUNT];

#endif
