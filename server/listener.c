#include "server/listener.h"

#include "server/connection.h"
#include "storage/log.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOG_INTERVAL_MS = 1000, /* between complaints that may come thousands a second */
};

/* ---- Taking connections --------------------------------------------------------------------- */

static void on_refused_closed(uv_handle_t *handle) {
    free(handle);
}

/* One client too many: an answer without a job, then the end. */
static bool turn_away(struct server *server) {
#define BODY "{\"status\":{\"error\":\"Service unavailable: too many connections\"},\"time\":0.0}"
    static char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                         "Content-Length: 75\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" BODY;
    static_assert(sizeof(BODY) - 1 == 75, "Content-Length above");
#undef BODY
    uv_tcp_t *tcp = malloc(sizeof(*tcp));
    if (!tcp)
        return false;
    if (uv_tcp_init(&server->loop, tcp) < 0) {
        free(tcp);
        return false;
    }
    uv_buf_t buffer = uv_buf_init(text, sizeof(text) - 1);
    metrics_add(server->metrics, METRICS_connections_refused, 1);
    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)tcp) == 0)
        (void)uv_try_write((uv_stream_t *)tcp, &buffer, 1);
    uv_close((uv_handle_t *)tcp, on_refused_closed);
    return true;
}

bool listener_take(struct server *server) {
    if (server->connection_count >= server->connections_max)
        return turn_away(server);
    struct connection *connection = connection_create(server);
    if (!connection)
        return false;
    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&connection->tcp) < 0)
        connection_close(connection);
    else
        connection_start(connection);
    return true;
}

static void on_connection(uv_stream_t *listener, int code) {
    struct server *server = listener->data;
    loop_clock_enter(&server->clock);
    if (code == 0)
        server->accept_is_pending = !listener_take(server);
    else if (server_now_ms(server) - server->accept_failed_ms >= LOG_INTERVAL_MS) {
        server->accept_failed_ms = server_now_ms(server);
        log_event(LOG_LEVEL_WARN, "cannot take a connection: %s", uv_strerror(code));
    }
    loop_clock_leave(&server->clock);
}

/* ---- Listening ------------------------------------------------------------------------------ */

static enum status resolve(const struct config *config, struct sockaddr_storage *address,
                           struct error *error) {
    char port[16];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
        .ai_socktype = SOCK_STREAM,
    };
    snprintf(port, sizeof(port), "%u", (unsigned)config->http_port);
    int code = getaddrinfo(config->host, port, &hints, &found);
    if (code != 0)
        return error_set(error, STATUS_INVALID, "cannot resolve the host %.256s: %s; set --host",
                         config->host, gai_strerror(code));
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return STATUS_OK;
}

static enum status listen_failed(const struct config *config, int code, struct error *error) {
    if (code == UV_EADDRINUSE)
        return error_set(error, STATUS_UNAVAILABLE,
                         "port %u of %.256s is taken by another program: stop that one, or choose "
                         "another port with --http-port",
                         (unsigned)config->http_port, config->host);
    if (code == UV_EACCES)
        return error_set(error, STATUS_FORBIDDEN,
                         "port %u needs rights this process lacks: choose one above 1023 with "
                         "--http-port",
                         (unsigned)config->http_port);
    return error_set(error, STATUS_IO, "cannot listen on %.256s port %u: %s", config->host,
                     (unsigned)config->http_port, uv_strerror(code));
}

enum status listener_open(struct server *server, struct error *error) {
    struct sockaddr_storage address = {0};
    enum status status = resolve(server->config, &address, error);
    if (status != STATUS_OK)
        return status;
    int code = uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0);
    if (code == 0)
        code = uv_listen((uv_stream_t *)&server->listener, SERVER_BACKLOG, on_connection);
    return code == 0 ? STATUS_OK : listen_failed(server->config, code, error);
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void bound_address(const struct server *server, struct sockaddr_storage *address) {
    int length = sizeof(*address);
    *address = (struct sockaddr_storage){.ss_family = AF_INET};
    (void)uv_tcp_getsockname(&server->listener, (struct sockaddr *)address, &length);
}

bool listener_is_public(const struct server *server) {
    struct sockaddr_storage address;
    bound_address(server, &address);
    return !is_loopback(&address);
}

void listener_address(const struct server *server, char text[LISTENER_ADDRESS_MAX]) {
    struct sockaddr_storage address;
    char name[64] = "?";
    bound_address(server, &address);
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
        uv_ip4_name(v4, name, sizeof(name));
        snprintf(text, LISTENER_ADDRESS_MAX, "%s:%d", name, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
        uv_ip6_name(v6, name, sizeof(name));
        snprintf(text, LISTENER_ADDRESS_MAX, "[%s]:%d", name, ntohs(v6->sin6_port));
    }
}
