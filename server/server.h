/* server.h -- the loop thread: listening, connections, deadlines, stopping.
 *
 * struct server is shared by the files of this folder that run on the loop (server.c,
 * listener.c, connection*.c, request.c) and, for what they need of it, by the workers'
 * lane_serve.c; nobody else looks inside. Invariant 5: only the loop thread touches libuv; others
 * wake it with loop_wake.h.
 */
#ifndef SERVER_H
#define SERVER_H

#include "server/auth.h"
#include "server/config.h"
#include "server/http_parser.h"
#include "server/job.h"
#include "server/lane.h"
#include "server/loop_clock.h"
#include "server/loop_wake.h"
#include "server/metrics.h"
#include "server/timer_wheel.h"
#include "server/wait_set.h"
#include "server/workers.h"

#include <uv.h>

enum {
    SERVER_READ_BUFFER_BYTES = 64 * 1024,
    SERVER_BACKLOG = 1024,
    SERVER_RESERVED_FILES = 256,  /* for collections, logs, snapshots */
    SERVER_ANSWERS_PER_TURN = 64, /* sent before other callbacks get their turn */
    SERVER_DISCARD_BYTES_MAX =
        1024 * 1024, /* of a refused body; a longer one ends the connection */
};

struct connection;

struct server {
    const struct config *config; /* borrowed */
    struct auth *auth;
    struct metrics *metrics;
    struct workers *workers;
    struct wait_set wait_set; /* where workers sleep */
    struct lane *lane;        /* connections that workers serve by themselves */
    struct lane_hand **hands; /* one a worker */
    struct job_totals totals;
    struct job_pool pool;      /* the loop's jobs */
    bool checks_host;          /* loopback without a key: only local names are served */
    atomic_bool is_draining;   /* set by the loop */
    bool accept_is_pending;    /* there was no memory for a connection; the tick tries again */
    uint64_t accept_failed_ms; /* when that was last logged */
    bool is_hurried;           /* the time to stop was up */
    uint64_t drain_until_ms;

    bool has_loop;
    uv_loop_t loop;
    uv_tcp_t listener;
    struct loop_wake wake; /* jobs came back */
    uv_timer_t tick;       /* of the wheel */
    uv_signal_t terminate, interrupt;
    uv_poll_t reserve; /* made libuv's table of descriptors as large as it will get */
    int reserve_fd;    /* -1: none */
    struct loop_clock clock;
    struct timer_wheel wheel;
    struct job *answers; /* came back, not yet sent */

    struct connection *connections; /* all that are open */
    size_t connection_count, connections_max;
    /* A read callback is done with these before the next one starts. */
    char read_buffer[SERVER_READ_BUFFER_BYTES];
    struct http_head head;
};

/* Starts listening and the workers; prints nothing. api is created with server_write_metrics and
 * the server as its context, and given here before anything runs. Main thread. */
MUST_CHECK enum status server_create(const struct config *config, struct server **server,
                                     struct error *error);

/* Serves until a signal says to stop; returns the exit status. *time_left_ms is what the stop has
 * left of its time. Main thread, which becomes the loop's. */
int server_run(struct server *server, struct api *api, unsigned *time_left_ms);

/* How many threads read and search with this configuration. */
unsigned server_worker_count(const struct config *config);

/* After storage was closed: no job may be left but those that came back. */
void server_free(struct server *server);

/* api_options.write_metrics; context is the server. Any worker. */
void server_write_metrics(void *context, struct json_writer *out);

/* ---- For connection.c ----------------------------------------------------------------------- */

void server_add_connection(struct server *server, struct connection *connection);
void server_remove_connection(struct server *server, struct connection *connection);

/* Milliseconds of the loop's clock. */
uint64_t server_now_ms(const struct server *server);

#endif
