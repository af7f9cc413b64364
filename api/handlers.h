/* handlers.h -- the functions of the route table, by file.
 *
 * Each is a short function: the request was read by its shape, the answer is encoded in call_read()
 * or by the writer that applies the operation.
 */
#ifndef HANDLERS_H
#define HANDLERS_H

#include "api/json_shape.h"
#include "api/routes.h"

/* handle_service.c: what the server says about itself. */
route_handler handle_root, handle_health, handle_ready, handle_metrics, handle_telemetry,
    handle_issues, handle_issues_clear, handle_openapi, handle_cluster, handle_aliases;

/* handle_collections.c */
route_handler handle_collections_list, handle_collection_info, handle_collection_exists,
    handle_collection_create, handle_collection_update, handle_collection_delete,
    handle_collection_cluster, handle_collection_aliases;

/* handle_index.c */
route_handler handle_index_create, handle_index_delete;
extern const struct json_shape handle_index_shape;

/* handle_points.c: reading points. */
route_handler handle_points_retrieve, handle_point_get, handle_points_scroll, handle_points_count;
extern const struct json_shape handle_points_retrieve_shape, handle_points_scroll_shape,
    handle_points_count_shape;

/* handle_updates.c: writing points. */
route_handler handle_upsert, handle_delete, handle_set_payload, handle_overwrite_payload,
    handle_delete_payload, handle_clear_payload, handle_update_vectors, handle_delete_vectors,
    handle_update_batch;

/* handle_query.c */
route_handler handle_query, handle_query_batch, handle_search, handle_search_batch;

#endif
