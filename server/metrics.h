/* metrics.h -- what the server counts, and its part of /metrics.
 *
 * The loop counts, and workers the answers that they send. Any worker may write the text at the
 * same time, so every figure is an atomic.
 */
#ifndef METRICS_H
#define METRICS_H

#include "api/api.h"
#include "index/status.h"
#include "server/loop_clock.h"

#include <stdatomic.h>
#include <stdint.h>

/* X(member, name, type, help): single figures. */
#define METRICS_TABLE(X)                                                              \
    X(connections, "nigh_connections", "gauge", "Open connections")                   \
    X(connections_laned, "nigh_connections_laned", "gauge",                           \
      "Connections that workers serve by themselves")                                 \
    X(connections_total, "nigh_connections_total", "counter", "Connections accepted") \
    X(connections_refused, "nigh_connections_refused_total", "counter",               \
      "Connections refused because there are too many")                               \
    X(requests_refused, "nigh_requests_refused_total", "counter",                     \
      "Requests answered 503 because the queue of the workers was full")              \
    X(requests_malformed, "nigh_requests_malformed_total", "counter",                 \
      "Requests that were not HTTP as it must be")                                    \
    X(deadlines_missed, "nigh_deadlines_missed_total", "counter",                     \
      "Connections closed because a client was too slow")                             \
    X(clients_gone, "nigh_clients_gone_total", "counter",                             \
      "Requests whose client left before the answer")                                 \
    X(jobs_run, "nigh_jobs_total", "counter", "Requests handed to the workers")

struct metrics;

MUST_CHECK enum status metrics_create(struct metrics **metrics, struct error *error);
void metrics_free(struct metrics *metrics);

enum metrics_figure {
#define METRICS_ENUM(member, name, type, help) METRICS_##member,
    METRICS_TABLE(METRICS_ENUM)
#undef METRICS_ENUM
    METRICS_FIGURES,
};

/* Any thread. */
void metrics_add(struct metrics *metrics, enum metrics_figure figure, int64_t difference);

/* Counts an answered request; route is NULL if none was found. Any thread. */
void metrics_count_answer(struct metrics *metrics, const struct route *route, unsigned http_status,
                          uint64_t duration_ns);

/* Counts the stages of a request whose clock was started and is stopped; of others nothing. Any
 * thread. */
void metrics_count_stages(struct metrics *metrics, const struct route *route,
                          const struct stage_clock *stages);

/* What other parts of the server know at the time of writing. */
struct metrics_moment {
    uint64_t queue_length;
    uint64_t body_bytes; /* of the budget of all bodies */
    uint64_t jobs_alive;
    const struct loop_clock *clock;
};

/* Appends Prometheus text. Any thread. */
void metrics_write(struct metrics *metrics, const struct metrics_moment *moment,
                   struct json_writer *out);

#endif
