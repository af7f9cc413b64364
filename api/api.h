/* api.h -- one HTTP request in, one answer out; no sockets here.
 *
 * The server matches the route and authorises on the loop thread, gathers the body, and hands an
 * api_call to a read worker, which calls api_run(). Reads are answered there. Writes move on to a
 * writer of storage, which answers. Either way `done` is called exactly once, by whichever thread
 * finished (invariant 4: a call has one owner at a time).
 */
#ifndef API_H
#define API_H

#include "api/json_writer.h"
#include "api/query_parameters.h"
#include "api/routes.h"
#include "storage/arena.h"
#include "storage/stage_clock.h"
#include "storage/storage.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_BODY_BYTES_DEFAULT = 32 * 1024 * 1024,
    API_ARENA_FACTOR = 8, /* an arena may hold so many times its body, and a fixed part */
};

struct api_options {
    struct storage *storage;
    const char *version; /* our own */
    const char *commit;  /* 40 hex digits */
    uint64_t timeout_ms; /* default of a read; 60 s */
    uint64_t memory_mb;  /* what an arena may hold beside API_ARENA_FACTOR times its body */
    /* Appends the server's own lines to /metrics and fills /telemetry; any worker. May be NULL. */
    void (*write_metrics)(void *context, struct json_writer *out);
    void *context;
};

struct api;

MUST_CHECK enum status api_create(const struct api_options *options, struct api **api,
                                  struct error *error);
void api_free(struct api *api);

struct api_answer {
    unsigned http_status;
    const char *content_type; /* static text; NULL: no body */
    const char *body;         /* arena */
    size_t length;
    unsigned retry_after_s; /* 0: none */
};

struct api_call {
    /* Set by the server; borrowed until free_call. */
    struct api *api;
    struct arena *arena;
    const struct route *route;
    struct route_arguments arguments;
    const char *query; /* the text after '?', still encoded */
    size_t query_length;
    const char *body;
    size_t body_length;
    bool is_read_only;                   /* the key that was used may not write */
    uint64_t started_ns;                 /* CLOCK_MONOTONIC, for "time" in the envelope */
    void *context;                       /* the server's */
    void (*done)(struct api_call *call); /* the answer stands; worker or writer thread */
    /* The last owner let go: after done, and after a write that was acknowledged before it was
     * applied. Any thread. */
    void (*free_call)(struct api_call *call);

    atomic_bool is_cancelled; /* set by the loop when the client left */
    struct api_answer answer;
    struct error error;
    struct query_parameters parameters; /* api's: read from query */
    atomic_int references;              /* api's; api_call_init sets 1, which is the server's */
    struct stage_clock stages;          /* runs if the server started it */
};

/* Sets what the server does not. */
void api_call_init(struct api_call *call, struct api *api, struct arena *arena);

/* Runs the call. On return it may already belong to a writer, or be freed. Read worker. */
void api_run(struct api_call *call);

/* Lets go of one reference; the server calls it once, after the answer was sent. Any thread. */
void api_call_release(struct api_call *call);

/* Writes an error answer in the API's shape into the call, for failures the server itself notices
 * (queue full, body too large, 401 ...). Never fails: falls back to static text. */
void api_fail(struct api_call *call, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
