#include "server/healthcheck.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *host_to_ask(const struct config *config) {
    if (strcmp(config->host, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(config->host, "::") == 0 ? "::1" : config->host;
}

/* Returns a connected socket or -1. */
static int connect_to(const struct config *config) {
    char port[16];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const struct timeval timeout = {.tv_sec = HEALTHCHECK_TIMEOUT_S};
    snprintf(port, sizeof(port), "%u", (unsigned)config->http_port);
    if (getaddrinfo(host_to_ask(config), port, &hints, &found) != 0)
        return -1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        if (connect(fd, found->ai_addr, found->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

enum status healthcheck_run(const struct config *config, struct error *error) {
    static const char request[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const char expected[] = "HTTP/1.1 200 ";
    char answer[sizeof(expected)] = "";
    size_t length = 0;
    int fd = connect_to(config);
    if (fd < 0)
        return error_set(error, STATUS_UNAVAILABLE, "nothing answers on port %u: %s",
                         (unsigned)config->http_port, strerror(errno));
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1) {
        while (length < sizeof(expected) - 1) {
            ssize_t got = recv(fd, answer + length, sizeof(expected) - 1 - length, 0);
            if (got <= 0)
                break;
            length += (size_t)got;
        }
    }
    close(fd);
    if (strcmp(answer, expected) != 0)
        return error_set(error, STATUS_UNAVAILABLE, "the server on port %u is not healthy",
                         (unsigned)config->http_port);
    return STATUS_OK;
}
