/* http_bare.c -- the least a server can do: one thread, epoll, one read and one send a request.
 *
 *   http_bare 8080 300
 *
 * It looks for the end of a request and for its Content-Length, throws all of it away, and answers
 * so many bytes. What it costs on a machine is what the kernel takes for the exchange; no server of
 * the same requests can be cheaper there. It runs until it is killed and listens on 127.0.0.1.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 1024, /* and the highest descriptor */
    EVENTS_MAX = 64,
    READ_BYTES = 1 << 20,
    ANSWER_BYTES_MAX = 1 << 20,
};

static char input[READ_BYTES + 1];
static char answer[ANSWER_BYTES_MAX + 256];
static size_t answer_bytes;
static size_t missing[CONNECTIONS_MAX]; /* bytes of the request that are still to come */

static void die(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("http_bare: epoll_ctl");
}

static int listen_on(const char *port) {
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
        die("http_bare: listen");
    return fd;
}

static void accept_one(int epoll, int listener) {
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 || fd >= CONNECTIONS_MAX)
        die("http_bare: accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    missing[fd] = 0;
    watch(epoll, fd);
}

/* The head comes whole in the first read: it is short. */
static size_t request_bytes(void) {
    static const char name[] = "Content-Length: ";
    const char *length = strstr(input, name), *end = strstr(input, "\r\n\r\n");
    if (end == NULL)
        die("http_bare: a head in pieces");
    return (size_t)(end + 4 - input) + (length ? strtoul(length + sizeof(name) - 1, NULL, 10) : 0);
}

static void serve(int fd) {
    ssize_t got = read(fd, input, READ_BYTES);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    input[got] = '\0';
    size_t left = missing[fd] > 0 ? missing[fd] : request_bytes();
    missing[fd] = left > (size_t)got ? left - (size_t)got : 0;
    if (missing[fd] == 0 && send(fd, answer, answer_bytes, MSG_NOSIGNAL) != (ssize_t)answer_bytes)
        die("http_bare: send");
}

int main(int count, char **arguments) {
    size_t body = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;
    if (count != 3 || body > ANSWER_BYTES_MAX) {
        fprintf(stderr, "usage: http_bare PORT BYTES\n");
        return EXIT_FAILURE;
    }
    int head = snprintf(answer, sizeof(answer),
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        body);
    memset(answer + head, 'x', body);
    answer_bytes = (size_t)head + body;
    int listener = listen_on(arguments[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_one(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
