#include "server/server.h"

#include "server/connection.h"
#include "server/lane_serve.h"
#include "server/listener.h"
#include "storage/log.h"
#include "storage/process_memory.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MEBIBYTE = 1024 * 1024,
    LOOP_NICE = -5,
    BODY_BUDGET_MB_MAX = 512,  /* when it is not configured */
    STORAGE_SHARE_OF_STOP = 4, /* a quarter of the time to stop is kept for closing storage */
};

uint64_t server_now_ms(const struct server *server) {
    return uv_now(&server->loop);
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* A worker sends the answer if it may (reply.h). Writers do not: a group of writes waits for them.
 * It is counted first, for whoever has the answer may ask for the figures. */
static void on_done(void *context, struct job *job) {
    struct server *server = context;
    const struct route *route = job->call.route;
    /* Copies: the loop may have the job before its last stage is over. */
    struct stage_clock stages = job->call.stages;
    bool is_in_lane = job->seat != NULL;
    enum reply_stage stage = REPLY_KEPT;
    if (thread_role_get() == THREAD_ROLE_WORKER && reply_claim(&job->reply)) {
        job->reply.is_counted = true;
        metrics_count_answer(server->metrics, route, job->call.answer.http_status,
                             uv_hrtime() - job->call.started_ns);
        stage_clock_enter(&stages, STAGE_send);
        stage = reply_send(&job->reply, &job->call.answer, job_is_large(job) && !is_in_lane);
    }
    stage_clock_stop(&stages);
    metrics_count_stages(server->metrics, route, &stages);
    if (stage != REPLY_SENT && !is_in_lane) /* else the job is its worker's (lane_serve.h) */
        workers_return(server->workers, job);
}

static void wake_loop(void *context) {
    struct server *server = context;
    loop_wake_call(&server->wake);
}

/* Sends what came back; calls of the wake-up coalesce, so the whole list is taken. A long list is
 * sent in several turns: reading must go on meanwhile. */
static void on_wake(void *context) {
    struct server *server = context;
    loop_clock_enter(&server->clock);
    struct lane_seat *next;
    for (struct lane_seat *seat = lane_take_returned(server->lane); seat; seat = next) {
        next = seat->next;
        connection_lane_return(seat);
    }
    struct job **end = &server->answers;
    while (*end)
        end = &(*end)->next;
    *end = workers_take_returned(server->workers);
    for (unsigned i = 0; server->answers && i < SERVER_ANSWERS_PER_TURN; i++) {
        struct job *job = server->answers;
        server->answers = job->next;
        connection_answer(server, job);
    }
    if (server->answers)
        loop_wake_call(&server->wake);
    loop_clock_leave(&server->clock);
}

/* ---- Connections ---------------------------------------------------------------------------- */

static void stop_if_quiet(struct server *server);

void server_add_connection(struct server *server, struct connection *connection) {
    connection->next = server->connections;
    connection->link = &server->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    server->connections = connection;
    server->connection_count++;
    metrics_add(server->metrics, METRICS_connections, 1);
    metrics_add(server->metrics, METRICS_connections_total, 1);
}

void server_remove_connection(struct server *server, struct connection *connection) {
    timer_wheel_remove(&connection->timer);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    assert(server->connection_count > 0);
    server->connection_count--;
    metrics_add(server->metrics, METRICS_connections, -1);
    stop_if_quiet(server);
}

/* ---- Stopping ------------------------------------------------------------------------------- */

static void close_if_open(uv_handle_t *handle) {
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* The last resort: something below does not end. Dying is safe at any time. */
static void on_alarm(int number) {
    (void)number;
    _exit(EXIT_FAILURE);
}

static void close_connections(struct server *server) {
    struct connection *next;
    for (struct connection *connection = server->connections; connection; connection = next) {
        next = connection->next;
        connection_close(connection);
    }
}

/* Jobs alive may outlive their connections; those that only wait to be applied (answered with
 * wait=false) are storage's to finish. */
static bool is_quiet(const struct server *server) {
    return server->connection_count == 0 && !server->answers;
}

static void stop_if_quiet(struct server *server) {
    if (!server->is_draining || !is_quiet(server))
        return;
    close_if_open((uv_handle_t *)&server->tick);
    close_if_open((uv_handle_t *)&server->terminate);
    close_if_open((uv_handle_t *)&server->interrupt);
    uv_stop(&server->loop);
}

static void start_draining(struct server *server) {
    uint64_t time_ms = server->config->stop_timeout_s * 1000;
    log_event(LOG_LEVEL_INFO, "stopping: %zu connections are open", server->connection_count);
    server->is_draining = true;
    signal(SIGALRM, on_alarm);
    alarm((unsigned)server->config->stop_timeout_s + 1);
    server->drain_until_ms = server_now_ms(server) + time_ms - time_ms / STORAGE_SHARE_OF_STOP;
    close_if_open((uv_handle_t *)&server->listener);
    struct connection *next;
    for (struct connection *connection = server->connections; connection; connection = next) {
        next = connection->next;
        connection_drain(connection);
    }
    stop_if_quiet(server);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct server *server = handle->data;
    (void)number;
    if (!server->is_draining) {
        start_draining(server);
        return;
    }
    log_event(LOG_LEVEL_WARN, "a second signal: stopping at once");
    _exit(EXIT_FAILURE); /* as safe as kill -9, which is safe */
}

static void on_tick(uv_timer_t *handle) {
    struct server *server = handle->data;
    struct timer_entry *timer;
    loop_clock_enter(&server->clock);
    while ((timer = timer_wheel_expire(&server->wheel, server_now_ms(server))))
        connection_expire(timer);
    workers_release_waiting(server->workers);
    job_pool_collect(&server->pool);
    body_store_trim(&server->totals.bodies);
    if (server->accept_is_pending && !server->is_draining)
        server->accept_is_pending = !listener_take(server);
    if (server->is_draining && server_now_ms(server) >= server->drain_until_ms) {
        server->is_hurried = true;
        close_connections(server);
    }
    loop_clock_leave(&server->clock);
    stop_if_quiet(server);
}

/* ---- Starting ------------------------------------------------------------------------------- */

/* Takes as many files as the system allows, and keeps some for other ends than connections. */
static size_t connections_allowed(const struct config *config) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return config->max_connections;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    size_t reserved = SERVER_RESERVED_FILES;
    if (files.rlim_cur < 2 * SERVER_RESERVED_FILES)
        reserved = files.rlim_cur / 2;
    size_t allowed = files.rlim_cur - reserved;
    return allowed < config->max_connections ? allowed : config->max_connections;
}

static size_t body_budget(const struct config *config) {
    uint64_t budget = config->body_budget_mb * MEBIBYTE;
    if (budget == 0) {
        budget = process_memory_limit(NULL) / 4;
        if (budget > (uint64_t)BODY_BUDGET_MB_MAX * MEBIBYTE)
            budget = (uint64_t)BODY_BUDGET_MB_MAX * MEBIBYTE;
    }
    return (size_t)budget;
}

static enum status start_loop(struct server *server, struct error *error) {
    int code = uv_loop_init(&server->loop);
    if (code < 0)
        return error_set(error, STATUS_IO, "cannot start the network loop: %s", uv_strerror(code));
    server->has_loop = true;
    /* These fail only where the loop itself could not have been made. */
    code = uv_tcp_init(&server->loop, &server->listener);
    if (code == 0)
        code = uv_timer_init(&server->loop, &server->tick);
    if (code == 0)
        code = uv_signal_init(&server->loop, &server->terminate);
    if (code == 0)
        code = uv_signal_init(&server->loop, &server->interrupt);
    if (code < 0)
        return error_set(error, STATUS_IO, "cannot start the network loop: %s", uv_strerror(code));
    server->listener.data = server->tick.data = server;
    server->terminate.data = server->interrupt.data = server;
    timer_wheel_init(&server->wheel, server_now_ms(server));
    server->wake.woken = on_wake;
    server->wake.context = server;
    return loop_wake_open(&server->wake, &server->loop, error);
}

unsigned server_worker_count(const struct config *config) {
    if (config->max_workers > 0)
        return (unsigned)config->max_workers;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1)
        return 1;
    return cores > WORKERS_THREADS_MAX ? WORKERS_THREADS_MAX : (unsigned)cores;
}

static void on_reserve(uv_poll_t *handle, int code, int events) {
    (void)handle;
    (void)code;
    (void)events;
}

/* libuv keeps a table of watchers by descriptor and aborts the process when it cannot grow it. So
 * it grows now, while nobody is connected: by a watcher of the highest descriptor we will use. */
static enum status reserve_watchers(struct server *server, struct error *error) {
    struct rlimit files = {.rlim_cur = 0};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    uint64_t highest = server->connections_max + 2 * SERVER_RESERVED_FILES;
    if (highest >= files.rlim_cur)
        highest = files.rlim_cur - 1;
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0)
        return error_set(error, STATUS_UNAVAILABLE, "no file can be opened: %s", strerror(errno));
    server->reserve_fd = fcntl(fd, F_DUPFD_CLOEXEC, (int)highest);
    if (server->reserve_fd < 0) /* it is taken: then the table will grow to it anyway */
        server->reserve_fd = fd;
    else
        close(fd);
    int code = uv_poll_init(&server->loop, &server->reserve, server->reserve_fd);
    if (code == 0)
        code = uv_poll_start(&server->reserve, UV_READABLE, on_reserve);
    if (code < 0)
        return error_set(error, STATUS_IO, "cannot start the network loop: %s", uv_strerror(code));
    uv_poll_stop(&server->reserve);
    return STATUS_OK;
}

static enum status create_hands(struct server *server, unsigned count, struct error *error) {
    server->hands = calloc(count + 1, sizeof(server->hands[0])); /* NULL ends them */
    if (!server->hands)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the workers");
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < count; i++)
        status = lane_hand_create(server, &server->hands[i], error);
    return status;
}

static enum status start_workers(struct server *server, struct error *error) {
    unsigned threads = server_worker_count(server->config);
    enum status status = wait_set_open(&server->wait_set, error);
    if (status == STATUS_OK)
        status = lane_create(&server->wait_set, wake_loop, server, &server->lane, error);
    if (status == STATUS_OK)
        status = create_hands(server, threads, error);
    if (status != STATUS_OK)
        return status;
    return workers_create(
        &(struct workers_options){
            .threads = threads,
            .queue_max = server->config->max_queue,
            .sleep = &server->wait_set,
            .hands = server->hands,
            .run = lane_run,
            .serve = lane_serve,
            .release = job_release,
            .wake = wake_loop,
            .context = server,
        },
        &server->workers, error);
}

enum status server_create(const struct config *config, struct server **created,
                          struct error *error) {
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the server");
    server->config = config;
    server->reserve_fd = server->wake.fd = -1;
    server->wait_set = (struct wait_set){.epoll = -1, .bell = -1};
    server->connections_max = connections_allowed(config);
    server->totals.body_bytes_max = body_budget(config);
    server->totals.bodies.kept_max = server->totals.body_bytes_max / 2;
    if (server->totals.bodies.kept_max > BODY_STORE_KEPT_MAX)
        server->totals.bodies.kept_max = BODY_STORE_KEPT_MAX;
    server->totals.arena_bytes_fixed = config->request_memory_mb * MEBIBYTE;
    server->totals.done = on_done;
    server->totals.context = server;
    job_pool_init(&server->pool, &server->totals);
    enum status status = auth_create(
        config->api_key[0] ? config->api_key : NULL,
        config->read_only_api_key[0] ? config->read_only_api_key : NULL, &server->auth, error);
    if (status == STATUS_OK)
        status = metrics_create(&server->metrics, error);
    if (status == STATUS_OK)
        status = start_loop(server, error);
    if (status == STATUS_OK)
        status = reserve_watchers(server, error);
    if (status == STATUS_OK)
        status = listener_open(server, error);
    if (status == STATUS_OK)
        status = start_workers(server, error);
    if (status != STATUS_OK) {
        server_free(server);
        return status;
    }
    server->checks_host =
        config->check_host && !auth_is_required(server->auth) && !listener_is_public(server);
    *created = server;
    return STATUS_OK;
}

/* Jobs whose clients are gone. */
static void release_returned(struct server *server) {
    for (struct job *job = workers_take_returned(server->workers), *next; job; job = next) {
        next = job->next;
        job_release(job);
    }
}

int server_run(struct server *server, struct api *api, unsigned *time_left_ms) {
    thread_role_set(THREAD_ROLE_LOOP);
    signal(SIGPIPE, SIG_IGN);
    server->totals.api = api;
    loop_clock_init(&server->clock);
    /* Where it is allowed (root): the loop does little, but every client waits for it. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), LOOP_NICE);
    uv_signal_start(&server->terminate, on_signal, SIGTERM);
    uv_signal_start(&server->interrupt, on_signal, SIGINT);
    uv_timer_start(&server->tick, on_tick, TIMER_WHEEL_TICK_MS, TIMER_WHEEL_TICK_MS);
    uv_run(&server->loop, UV_RUN_DEFAULT);

    uint64_t stop_by =
        server->drain_until_ms + server->config->stop_timeout_s * 1000 / STORAGE_SHARE_OF_STOP;
    workers_stop(server->workers);
    release_returned(server);
    loop_clock_close(&server->clock);
    thread_role_set(THREAD_ROLE_NONE);
    uv_update_time(&server->loop);
    uint64_t now = server_now_ms(server);
    *time_left_ms = stop_by > now && !server->is_hurried ? (unsigned)(stop_by - now) : 0;
    return server->is_hurried ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void close_handle(uv_handle_t *handle, void *context) {
    (void)context;
    close_if_open(handle);
}

void server_free(struct server *server) {
    if (!server)
        return;
    if (server->workers)
        release_returned(server);
    assert(atomic_load(&server->totals.jobs) == 0);
    if (server->has_loop) {
        uv_walk(&server->loop, close_handle, NULL);
        uv_run(&server->loop, UV_RUN_DEFAULT);
        int code = uv_loop_close(&server->loop);
        assert(code == 0);
    }
    loop_wake_close(&server->wake);
    if (server->reserve_fd >= 0)
        close(server->reserve_fd);
    workers_free(server->workers);
    for (struct lane_hand **hand = server->hands; hand && *hand; hand++)
        lane_hand_free(*hand);
    free(server->hands);
    lane_free(server->lane);
    wait_set_close(&server->wait_set);
    job_pool_free(&server->pool);
    job_totals_free(&server->totals);
    metrics_free(server->metrics);
    auth_free(server->auth);
    free(server);
}

void server_write_metrics(void *context, struct json_writer *out) {
    struct server *server = context;
    const struct metrics_moment moment = {
        .queue_length = workers_queue_length(server->workers),
        .body_bytes = atomic_load_explicit(&server->totals.body_bytes, memory_order_relaxed),
        .jobs_alive = atomic_load_explicit(&server->totals.jobs, memory_order_relaxed),
        .clock = &server->clock,
    };
    metrics_write(server->metrics, &moment, out);
}
