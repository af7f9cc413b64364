/* data_folder.h -- the data folder itself: may it be used, and which of its folders are nobody's.
 *
 *     lock                  held by the one process that uses the folder
 *     damaged               numbers of collections whose file ended a process (map_guard.h)
 *     catalogue/            the catalogue's environment
 *     collections/<16 hex>/ a collection's environment and graph files
 *
 * Main thread, at the start.
 */
#ifndef DATA_FOLDER_H
#define DATA_FOLDER_H

#include "storage/storage_internal.h"

/* Makes, checks and locks the folder and opens its catalogue. The error is one line that says what
 * to do: not writable, in use, on a network, of a newer format, catalogue lost. */
MUST_CHECK enum status data_folder_open(struct storage *storage, struct error *error);

/* With the collections known: removes the folders that the catalogue names as leftovers (one that
 * cannot be removed costs its space, not the start), and tells of those that nobody knows. */
MUST_CHECK enum status data_folder_tidy(struct storage *storage, struct error *error);

#endif
