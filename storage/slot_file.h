/* slot_file.h -- slots.bin: which slots live, as of the operation of the graph files beside it.
 *
 * A cache: a start that finds it as of the collection's last operation need not read every row. It
 * is ignored if it is missing, damaged, behind or of another life. docs/FORMAT.md has the bytes.
 *
 * Written by the builder that saves the graphs, read when a collection is opened.
 */
#ifndef SLOT_FILE_H
#define SLOT_FILE_H

#include "index/slots.h"
#include "storage/row_keys.h"

/* Replaces the file in the folder. While it runs no slot that died may be freed, so that what was
 * visible as of the operation stays so. */
MUST_CHECK enum status slot_file_save(const char *folder, const struct slots *slots,
                                      uint64_t operation, uint64_t incarnation,
                                      struct error *error);

/* Reads when each slot below state->next_slot was born (0: it has no row) into *born, the caller's
 * to free. NULL if there is no usable file as of this state; one of another is removed. */
uint64_t *slot_file_load(const char *folder, const struct collection_state *state);

/* Of a file that is not to be read now. It may not stay: with an older copy of the data file in its
 * folder, an operation of its number may come to pass another time. */
void slot_file_remove(const char *folder);

#endif
