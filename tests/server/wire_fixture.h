/* wire_fixture.h -- a server over the stand-in API, in this process, and clients to talk to it.
 *
 *     config_init(&wire_config); wire_config.max_workers = 1; wire_start();
 *     int fd = wire_connect();
 *     wire_send(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
 *     wire_expect(fd, "HTTP/1.1 200");
 *     ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
 *
 * Each test runs in a process of its own, so statics start fresh.
 */
#ifndef WIRE_FIXTURE_H
#define WIRE_FIXTURE_H

#include "server/connection.h"
#include "server/listener.h"
#include "storage/log.h"
#include "tests/server/api_double.c"
#include "tests/support/run_suite.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_HOST    "Host: localhost\r\n"
#define WIRE_METRICS "GET /metrics HTTP/1.1\r\n" WIRE_HOST "\r\n"

enum {
    WIRE_WAIT_MS = 20000, /* an instrumented build on a busy machine is slow */
    WIRE_TEXT_MAX = 1 << 20,
};

static struct config wire_config;
static struct server *wire_server;
static struct api *wire_api;
static pthread_t wire_thread;
static int wire_exit_status;
static int wire_port;
static char wire_text[WIRE_TEXT_MAX]; /* what the last read got */

static uv_async_t wire_async;
static void (*wire_task)(struct server *server); /* to be run on the loop's thread */
static atomic_bool wire_task_is_done;

static void wire_run_task(uv_async_t *async) {
    (void)async;
    wire_task(wire_server);
    atomic_store(&wire_task_is_done, true);
}

static void *wire_run(void *argument) {
    unsigned time_left_ms;
    (void)argument;
    wire_exit_status = server_run(wire_server, wire_api, &time_left_ms);
    return NULL;
}

static void wire_start(void) {
    struct error error;
    char address[LISTENER_ADDRESS_MAX];
    log_configure(LOG_LEVEL_ERROR, false);
    wire_config.http_port = 0;
    ck_assert_int_eq(config_check(&wire_config, &error), STATUS_OK);
    ck_assert_msg(server_create(&wire_config, &wire_server, &error) == STATUS_OK, "%s",
                  error.message);
    ck_assert_int_eq(api_create(&(struct api_options){.write_metrics = server_write_metrics,
                                                      .context = wire_server},
                                &wire_api, &error),
                     STATUS_OK);
    ck_assert_int_eq(uv_async_init(&wire_server->loop, &wire_async, wire_run_task), 0);
    listener_address(wire_server, address);
    wire_port = atoi(strrchr(address, ':') + 1);
    ck_assert_int_eq(pthread_create(&wire_thread, NULL, wire_run, NULL), 0);
}

/* SIGTERM, and the exit status. */
static int wire_stop(void) {
    kill(getpid(), SIGTERM);
    pthread_join(wire_thread, NULL);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
    return wire_exit_status;
}

static int wire_connect(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wire_port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void wire_send_bytes(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        ck_assert_msg(sent > 0, "cannot send");
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void wire_send(int fd, const char *text) {
    wire_send_bytes(fd, text, strlen(text));
}

/* Reads into wire_text until the text is in it, or the end (text NULL). Returns the length; -1 if
 * the connection was reset or nothing came in time. */
static ssize_t wire_read_until(int fd, const char *text, int wait_ms) {
    size_t length = 0;
    wire_text[0] = '\0';
    while (!text || !strstr(wire_text, text)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ck_assert_uint_lt(length, WIRE_TEXT_MAX - 1);
        if (poll(&poll_fd, 1, wait_ms) != 1)
            return -1;
        ssize_t got = recv(fd, wire_text + length, WIRE_TEXT_MAX - 1 - length, 0);
        if (got <= 0)
            return got == 0 && !text ? (ssize_t)length : -1;
        length += (size_t)got;
        wire_text[length] = '\0';
    }
    return (ssize_t)length;
}

static void wire_expect(int fd, const char *text) {
    ck_assert_msg(wire_read_until(fd, text, WIRE_WAIT_MS) >= 0, "no \"%s\" in \"%s\"", text,
                  wire_text);
}

/* Reads to the end of the connection, which must be orderly. */
static inline void wire_expect_end(int fd) {
    ck_assert_msg(wire_read_until(fd, NULL, WIRE_WAIT_MS) >= 0, "no end after \"%.200s\"",
                  wire_text);
}

static inline unsigned wire_count(const char *needle) {
    unsigned count = 0;
    for (const char *at = wire_text; (at = strstr(at, needle)); at += strlen(needle))
        count++;
    return count;
}

static inline uint64_t wire_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs the task on the loop's thread, the only one that may look at connections. */
static inline void wire_on_loop(void (*task)(struct server *server)) {
    wire_task = task;
    atomic_store(&wire_task_is_done, false);
    uv_async_send(&wire_async);
    while (!atomic_load(&wire_task_is_done))
        sleep_ms(1);
}

/* Waits until the figure has the value. */
static inline void wire_wait_for(atomic_int *figure, int value) {
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    while (atomic_load(figure) != value) {
        ck_assert_uint_lt(wire_now_ms(), until);
        sleep_ms(1);
    }
}

static inline void wire_reset(int fd) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

/* Waits until nothing is left but the connection that asks. */
static inline void wire_expect_nothing_left(void) {
    int fd = wire_connect();
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    do {
        wire_send(fd, WIRE_METRICS);
        wire_expect(fd, "memory_resident_bytes ");
        ck_assert_msg(wire_now_ms() < until, "%s", wire_text);
        sleep_ms(5);
    } while (!strstr(wire_text, "\nnigh_connections 1\n") ||
             !strstr(wire_text, "\nnigh_body_bytes 0\n") || !strstr(wire_text, "\nnigh_jobs 1\n"));
    close(fd);
}

/* ---- Clients in threads, which complain instead of asserting ----------------------------------
 */

/* Reads one answer that ends with the text; NULL: it came, whole and alone. */
static inline const char *wire_one_answer(int fd, const char *expected) {
    char text[4096] = "";
    for (size_t length = 0; !strstr(text, expected);) {
        ssize_t got = recv(fd, text + length, sizeof(text) - 1 - length, 0);
        if (got <= 0 || length + (size_t)got >= sizeof(text) - 1)
            return "an answer did not come";
        length += (size_t)got;
        text[length] = '\0';
    }
    return strstr(strstr(text, "HTTP/1.1") + 1, "HTTP/1.1") ? "two answers to one request" : NULL;
}

static inline void wire_leave(int fd, unsigned *seed) {
    if (rand_r(seed) % 2)
        wire_reset(fd);
    else
        close(fd);
}

/* Several at once, each with a number of its own; what one of them complains of fails the test. */
static inline void wire_run_clients(void *(*client)(void *number)) {
    enum {
        CLIENTS = 6
    };
    pthread_t clients[CLIENTS];
    for (uintptr_t i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&clients[i], NULL, client, (void *)(i + 1)), 0);
    for (int i = 0; i < CLIENTS; i++) {
        void *complaint;
        pthread_join(clients[i], &complaint);
        ck_assert_msg(!complaint, "%s", (const char *)complaint);
    }
}

/* ---- Answers that no socket takes at once ---------------------------------------------------- */

enum {
    WIRE_LARGE = 6000000, /* bytes of a body */
};

static inline void wire_ask_for_much(int fd) {
    char request[200];
    snprintf(request, sizeof(request), "GET /bytes/%d HTTP/1.1\r\n" WIRE_HOST "\r\n", WIRE_LARGE);
    wire_send(fd, request);
}

/* Asks for it, waits until it cannot go on, and reads it. */
static inline void wire_expect_much(int fd) {
    static char bytes[WIRE_LARGE + 4096];
    size_t length = 0, expected = SIZE_MAX;
    wire_ask_for_much(fd);
    sleep_ms(50);
    while (length < expected) {
        ssize_t got = recv(fd, bytes + length, sizeof(bytes) - 1 - length, 0);
        ck_assert_int_gt(got, 0);
        length += (size_t)got;
        const char *body = memmem(bytes, length < 2000 ? length : 2000, "\r\n\r\n", 4);
        if (body)
            expected = (size_t)(body + 4 - bytes) + WIRE_LARGE;
    }
    ck_assert_uint_eq(length, expected);
    ck_assert(strncmp(bytes, "HTTP/1.1 200 ", 13) == 0);
    size_t wrong = 0; /* asserted once: libcheck reports each assertion over a pipe */
    for (size_t i = length - WIRE_LARGE; i < length; i++)
        wrong += bytes[i] != 'x';
    ck_assert_uint_eq(wrong, 0);
}

/* ---- The state of the only connection, looked at on the loop's thread ------------------------ */

static atomic_int wire_seen_state, wire_seen_stage;

static inline void wire_look(struct server *server) {
    const struct connection *connection = server->connections;
    wire_seen_state = connection ? (int)connection->state : -1;
    wire_seen_stage = connection && connection->job ? (int)connection->job->reply.stage : -1;
}

static inline void wire_wait_for_state(int state) {
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    for (wire_on_loop(wire_look); wire_seen_state != state; wire_on_loop(wire_look)) {
        ck_assert_msg(wire_now_ms() < until, "state %d, not %d", wire_seen_state, state);
        sleep_ms(2);
    }
}

/* As if a worker had just begun to send. */
static inline void wire_claim(struct server *server) {
    ck_assert(reply_claim(&server->connections->job->reply));
}

/* ---- The lane (server/lane.h) ---------------------------------------------------------------- */

#define WIRE_SAY(text) "GET /echo/" text " HTTP/1.1\r\n" WIRE_HOST "\r\n"

/* Sends usual requests until workers serve the connection, the only one. */
static inline void wire_enter_lane(int fd) {
    for (int i = 0; i < 200; i++) {
        wire_send(fd, WIRE_SAY("enter"));
        wire_expect(fd, "\r\n\r\nenter");
        wire_on_loop(wire_look);
        if (i >= CONNECTION_LANE_AFTER && wire_seen_state == CONNECTION_LANED)
            return;
    }
    ck_abort_msg("not in the lane but in state %d", wire_seen_state);
}

static inline int wire_connect_in_lane(void) {
    wire_start();
    int fd = wire_connect();
    wire_enter_lane(fd);
    return fd;
}

/* The client leaves, nothing is left of it, and the server stops as it should. */
static inline void wire_finish(int fd) {
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}

#endif
