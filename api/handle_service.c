#include "api/call.h"
#include "api/handlers.h"
#include "api/openapi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The version of the API that is spoken; clients compare it with their own. */
#define API_VERSION "1.19.0"

static enum status answer_text(struct api_call *call, unsigned http_status, const char *text) {
    call->answer = (struct api_answer){.http_status = http_status,
                                       .content_type = CALL_TEXT,
                                       .body = text,
                                       .length = strlen(text)};
    return call_done(call);
}

/* An answer whose result is this JSON text. */
static enum status answer_json(struct api_call *call, const char *text) {
    struct json_writer writer;
    call_begin_result(call, &writer);
    json_write_raw(&writer, text, strlen(text));
    enum status status = call_end_result(call, &writer);
    return status == STATUS_OK ? call_done(call) : status;
}

enum status handle_root(struct api_call *call, const void *request) {
    const struct api_options *options = &call->api->options;
    struct json_writer writer;
    (void)request;
    json_writer_init(&writer, call->arena);
    json_write_open(&writer, '{');
    json_write_key_string(&writer, "title", "nigh - vector search engine");
    json_write_key_string(&writer, "version", API_VERSION);
    json_write_key_string(&writer, "commit", options->commit);
    json_write_key_string(&writer, "nigh", options->version);
    json_write_close(&writer, '}');
    enum status status = call_end_plain(call, &writer, CALL_JSON);
    return status == STATUS_OK ? call_done(call) : status;
}

enum status handle_health(struct api_call *call, const void *request) {
    (void)request;
    return answer_text(call, 200, "healthz check passed");
}

enum status handle_ready(struct api_call *call, const void *request) {
    char reason[256];
    (void)request;
    if (storage_is_ready(call->api->options.storage, reason))
        return answer_text(call, 200, "all shards are ready");
    return answer_text(call, 503, "some shards are not ready");
}

enum status handle_issues(struct api_call *call, const void *request) {
    (void)request;
    return answer_json(call, "{\"issues\":[]}");
}

enum status handle_issues_clear(struct api_call *call, const void *request) {
    (void)request;
    return answer_json(call, "true");
}

enum status handle_cluster(struct api_call *call, const void *request) {
    (void)request;
    return answer_json(call, "{\"status\":\"disabled\"}");
}

enum status handle_aliases(struct api_call *call, const void *request) {
    (void)request;
    return answer_json(call, "{\"aliases\":[]}");
}

enum status handle_openapi(struct api_call *call, const void *request) {
    struct json_writer writer;
    (void)request;
    json_writer_init(&writer, call->arena);
    enum status status = openapi_write(&writer, call->arena, &call->error);
    if (status == STATUS_OK)
        status = call_end_plain(call, &writer, CALL_JSON);
    return status == STATUS_OK ? call_done(call) : status;
}

/* ---- Telemetry: what the web UI shows; it leaves the process only when asked ----------------- */

enum status handle_telemetry(struct api_call *call, const void *request) {
    const struct api *api = call->api;
    struct storage_figures figures;
    struct json_writer writer;
    char started[32], id[24];
    time_t seconds = (time_t)api->started_s;
    struct tm date;
    (void)request;
    storage_figures(api->options.storage, &figures);
    gmtime_r(&seconds, &date);
    strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", &date);
    snprintf(id, sizeof(id), "%016" PRIx64, api->id);
    call_begin_result(call, &writer);
    json_write_open(&writer, '{');
    json_write_key_string(&writer, "id", id);
    json_write_key(&writer, "app");
    json_write_open(&writer, '{');
    json_write_key_string(&writer, "name", "nigh");
    json_write_key_string(&writer, "version", API_VERSION);
    json_write_key_string(&writer, "nigh", api->options.version);
    json_write_key_string(&writer, "startup", started);
    json_write_close(&writer, '}');
    json_write_key(&writer, "collections");
    json_write_open(&writer, '{');
    json_write_key_u64(&writer, "number_of_collections", figures.collections);
    json_write_close(&writer, '}');
    json_write_key(&writer, "cluster");
    json_write_raw(&writer, "{\"enabled\":false}", 17);
    json_write_close(&writer, '}');
    enum status status = call_end_result(call, &writer);
    return status == STATUS_OK ? call_done(call) : status;
}

/* ---- Metrics --------------------------------------------------------------------------------- */

static void write_metric(struct json_writer *writer, const char *name, const char *type,
                         const char *help, uint64_t value) {
    json_write_text(writer, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type,
                    name, value);
}

static void write_storage_metrics(struct json_writer *writer,
                                  const struct storage_figures *figures) {
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"collections_total", "gauge", "number of collections", figures->collections},
        {"collections_open", "gauge", "collections held open", figures->collections_open},
        {"collections_quarantined", "gauge", "collections that cannot be read",
         figures->quarantined},
        {"points_total", "gauge", "points of the open collections", figures->points},
        {"vectors_waiting_total", "gauge", "vectors not yet linked into a graph",
         figures->vectors_waiting},
        {"index_bytes", "gauge", "memory of the vector indexes", figures->index_bytes},
        {"disk_bytes", "gauge", "bytes of the data files", figures->disk_bytes},
        {"commits_total", "counter", "commits of groups of writes", figures->commits},
        {"commit_failures_total", "counter", "commits that failed", figures->commit_failures},
        {"operations_total", "counter", "operations applied", figures->operations},
        {"write_queue_jobs", "gauge", "writes that wait", figures->write_queue_jobs},
        {"memory_used_bytes", "gauge", "memory that the limit counts", figures->memory_used_bytes},
        {"memory_limit_bytes", "gauge", "beyond it new points are refused; 0: no limit",
         figures->memory_limit_bytes},
        {"huge_page_bytes", "gauge", "memory that lies in huge pages", figures->huge_page_bytes},
        {"readers_over_1s_total", "counter", "read transactions held over a second",
         figures->readers_over_1s},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        write_metric(writer, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
}

enum status handle_metrics(struct api_call *call, const void *request) {
    const struct api_options *options = &call->api->options;
    struct storage_figures figures;
    struct json_writer writer;
    (void)request;
    json_writer_init(&writer, call->arena);
    storage_figures(options->storage, &figures);
    json_write_text(&writer,
                    "# HELP app_info information about the server\n# TYPE app_info gauge\n"
                    "app_info{name=\"nigh\",version=\"%s\"} 1\n",
                    options->version);
    write_storage_metrics(&writer, &figures);
    if (options->write_metrics)
        options->write_metrics(options->context, &writer);
    enum status status = call_end_plain(call, &writer, CALL_TEXT);
    return status == STATUS_OK ? call_done(call) : status;
}
