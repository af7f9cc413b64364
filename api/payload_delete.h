/* payload_delete.h -- a payload's text without what lies at any of many paths.
 *
 * One walk for all paths, which lie in an order in which those that agree so far are neighbours: a
 * step of the walk is a binary search, however many paths there are. Deleting at one path changes
 * nothing about where another one leads, so that the order is not seen in the outcome. What lies
 * beside the paths stays byte for byte. Memory: the arena given. Any thread.
 */
#ifndef PAYLOAD_DELETE_H
#define PAYLOAD_DELETE_H

#include "storage/json_reader.h"
#include "storage/payload_path.h"

/* Puts the paths into the order that the walk wants. */
void payload_delete_order(struct payload_path *paths, size_t count);

/* paths as payload_delete_order left them. `a[]` at the end empties an array; `a[0]` at the end
 * does nothing, since doing it twice would remove two elements. */
MUST_CHECK enum status payload_delete_apply(const struct payload_path *paths, size_t count,
                                            struct json_text payload, struct arena *arena,
                                            struct json_text *result, struct error *error);

#endif
