/* point_match.h -- asks a filter about a stored row. No memory of its own; any thread. */
#ifndef POINT_MATCH_H
#define POINT_MATCH_H

#include "storage/collection_config.h"
#include "storage/filter.h"
#include "storage/row_keys.h"

/* config says which names the row's vectors have. */
bool point_match_row(const struct filter *filter, const struct stored_row *row,
                     const struct collection_config *config);

#endif
