#include "server/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LABELS_BYTES_MAX = 256,
    STATUSES = 24,
    BUCKETS = 12,
};

/* Statuses that get a row of their own; the last stands for all others. */
static const unsigned statuses[STATUSES] = {200, 201, 202, 204, 400, 401, 403, 404,
                                            405, 408, 409, 413, 414, 415, 417, 421,
                                            422, 429, 431, 500, 501, 503, 507, 0};

/* Upper bounds, in microseconds. */
static const uint64_t duration_us[BUCKETS] = {100,   250,   500,    1000,   2500,    5000,
                                              10000, 50000, 100000, 500000, 1000000, 10000000};
static const uint64_t stage_us[BUCKETS] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000, 100000};

struct histogram {
    _Atomic uint64_t buckets[BUCKETS + 1]; /* the last: longer than any bound */
    _Atomic uint64_t sum_ns;
};

struct endpoint {
    _Atomic uint64_t answers[STATUSES];
    struct histogram duration;
    struct histogram stages[STAGE_COUNT];
};

struct metrics {
    _Atomic int64_t figures[METRICS_FIGURES];
    size_t endpoint_count; /* routes_count, and one for requests without route */
    struct endpoint endpoints[];
};

enum status metrics_create(struct metrics **created, struct error *error) {
    size_t count = routes_count + 1;
    struct metrics *metrics = calloc(1, sizeof(*metrics) + count * sizeof(metrics->endpoints[0]));
    if (!metrics)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the metrics");
    metrics->endpoint_count = count;
    *created = metrics;
    return STATUS_OK;
}

void metrics_free(struct metrics *metrics) {
    free(metrics);
}

static void count(_Atomic uint64_t *figure, uint64_t by) {
    atomic_fetch_add_explicit(figure, by, memory_order_relaxed);
}

static uint64_t value_of(const _Atomic uint64_t *figure) {
    return atomic_load_explicit((_Atomic uint64_t *)figure, memory_order_relaxed);
}

void metrics_add(struct metrics *metrics, enum metrics_figure figure, int64_t difference) {
    atomic_fetch_add_explicit(&metrics->figures[figure], difference, memory_order_relaxed);
}

static struct endpoint *endpoint_of(struct metrics *metrics, const struct route *route) {
    return &metrics->endpoints[route ? (size_t)(route - routes) : routes_count];
}

static void observe(struct histogram *histogram, const uint64_t bounds_us[BUCKETS], uint64_t ns) {
    size_t bucket = 0;
    while (bucket < BUCKETS && ns > bounds_us[bucket] * 1000)
        bucket++;
    count(&histogram->buckets[bucket], 1);
    count(&histogram->sum_ns, ns);
}

void metrics_count_answer(struct metrics *metrics, const struct route *route, unsigned http_status,
                          uint64_t duration_ns) {
    struct endpoint *endpoint = endpoint_of(metrics, route);
    size_t status = 0;
    while (status < STATUSES - 1 && statuses[status] != http_status)
        status++;
    count(&endpoint->answers[status], 1);
    observe(&endpoint->duration, duration_us, duration_ns);
}

void metrics_count_stages(struct metrics *metrics, const struct route *route,
                          const struct stage_clock *stages) {
    struct endpoint *endpoint = endpoint_of(metrics, route);
    for (size_t i = 0; stages->was_started && i < STAGE_COUNT; i++) {
        if (stages->spent_ns[i] > 0)
            observe(&endpoint->stages[i], stage_us, stages->spent_ns[i]);
    }
}

/* ---- Text ----------------------------------------------------------------------------------- */

static void head(struct json_writer *out, const char *name, const char *type, const char *help) {
    json_write_text(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_answers(const struct metrics *metrics, struct json_writer *out) {
    head(out, "rest_responses_total", "counter", "Answers by endpoint and status");
    for (size_t i = 0; i < metrics->endpoint_count; i++) {
        const struct endpoint *endpoint = &metrics->endpoints[i];
        const char *method = i < routes_count ? routes[i].method : "";
        const char *pattern = i < routes_count ? routes[i].pattern : "";
        for (size_t status = 0; status < STATUSES; status++) {
            uint64_t answers = value_of(&endpoint->answers[status]);
            if (answers > 0)
                json_write_text(
                    out,
                    "rest_responses_total{method=\"%s\",endpoint=\"%s\",status=\"%u\"} %" PRIu64
                    "\n",
                    method, pattern, statuses[status], answers);
        }
    }
}

/* Nothing of a histogram that is empty. */
static void write_histogram(const struct histogram *histogram, const uint64_t bounds_us[BUCKETS],
                            const char *name, const char *labels, struct json_writer *out) {
    uint64_t total = 0, below = 0;
    for (size_t bucket = 0; bucket <= BUCKETS; bucket++)
        total += value_of(&histogram->buckets[bucket]);
    if (total == 0)
        return;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        below += value_of(&histogram->buckets[bucket]);
        json_write_text(out, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n", name, labels,
                        (double)bounds_us[bucket] / 1e6, below);
    }
    json_write_text(out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, total);
    json_write_text(out, "%s_sum{%s} %.9f\n", name, labels,
                    (double)value_of(&histogram->sum_ns) / 1e9);
    json_write_text(out, "%s_count{%s} %" PRIu64 "\n", name, labels, total);
}

static void write_durations(const struct metrics *metrics, struct json_writer *out) {
    static const char name[] = "rest_responses_duration_seconds";
    head(out, name, "histogram", "Time from the head of a request to its answer");
    for (size_t i = 0; i < routes_count; i++) {
        char labels[LABELS_BYTES_MAX];
        snprintf(labels, sizeof(labels), "method=\"%s\",endpoint=\"%s\"", routes[i].method,
                 routes[i].pattern);
        write_histogram(&metrics->endpoints[i].duration, duration_us, name, labels, out);
    }
}

static void write_stages(const struct metrics *metrics, struct json_writer *out) {
    static const char name[] = "nigh_stage_cpu_seconds";
    head(out, name, "histogram",
         "CPU time of a worker in a stage of a request, of a sample of requests");
    for (size_t i = 0; i < routes_count * STAGE_COUNT; i++) {
        const struct route *route = &routes[i / STAGE_COUNT];
        enum stage stage = (enum stage)(i % STAGE_COUNT);
        char labels[LABELS_BYTES_MAX];
        snprintf(labels, sizeof(labels), "method=\"%s\",endpoint=\"%s\",stage=\"%s\"",
                 route->method, route->pattern, stage_clock_name(stage));
        write_histogram(&metrics->endpoints[i / STAGE_COUNT].stages[stage], stage_us, name, labels,
                        out);
    }
}

static void write_memory(struct json_writer *out) {
    unsigned long long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return;
    if (fscanf(file, "%llu %llu", &pages, &resident) == 2) {
        head(out, "memory_resident_bytes", "gauge", "Memory in use");
        json_write_text(out, "memory_resident_bytes %llu\n",
                        resident * (unsigned long long)sysconf(_SC_PAGESIZE));
    }
    fclose(file);
}

void metrics_write(struct metrics *metrics, const struct metrics_moment *moment,
                   struct json_writer *out) {
    static const struct {
        const char *name, *type, *help;
    } figures[] = {
#define METRICS_ROW(member, name, type, help) {name, type, help},
        METRICS_TABLE(METRICS_ROW)
#undef METRICS_ROW
    };
    for (size_t i = 0; i < METRICS_FIGURES; i++) {
        int64_t value = atomic_load_explicit(&metrics->figures[i], memory_order_relaxed);
        head(out, figures[i].name, figures[i].type, figures[i].help);
        json_write_text(out, "%s %" PRId64 "\n", figures[i].name, value);
    }
    head(out, "nigh_queue_length", "gauge", "Requests waiting for a worker");
    json_write_text(out, "nigh_queue_length %" PRIu64 "\n", moment->queue_length);
    head(out, "nigh_body_bytes", "gauge", "Memory of bodies being received or worked on");
    json_write_text(out, "nigh_body_bytes %" PRIu64 "\n", moment->body_bytes);
    head(out, "nigh_jobs", "gauge", "Requests begun and not yet answered");
    json_write_text(out, "nigh_jobs %" PRIu64 "\n", moment->jobs_alive);
    head(out, "nigh_loop_callbacks_total", "counter", "Callbacks of the network loop");
    json_write_text(out, "nigh_loop_callbacks_total %" PRIu64 "\n",
                    value_of(&moment->clock->callbacks));
    head(out, "nigh_loop_callback_seconds_max", "gauge",
         "Longest callback of the network loop, less the time its thread waited for a core");
    json_write_text(out, "nigh_loop_callback_seconds_max %.6f\n",
                    (double)value_of(&moment->clock->longest_ns) / 1e9);
    head(out, "nigh_loop_callback_wall_seconds_max", "gauge",
         "Longest callback of the network loop by the clock on the wall");
    json_write_text(out, "nigh_loop_callback_wall_seconds_max %.6f\n",
                    (double)value_of(&moment->clock->longest_wall_ns) / 1e9);
    write_answers(metrics, out);
    write_durations(metrics, out);
    write_stages(metrics, out);
    write_memory(out);
}
