/* http_load.c -- a closed-loop HTTP client: N keep-alive connections, each sends its next request
 * when the answer to the last one is complete.
 *
 *   http_load port=6333 mode=upsert collection=a dimension=768 batch=100 connections=8 \
 *             requests=1000 pid=SERVER
 *
 * Modes: upsert (points with fresh ids), search (top 10), file (bodies from the file bodies=, each
 * behind its length as a little-endian u32, sent by method= to path= in turn).
 *
 * One line of JSON is printed: rate, latencies, statuses other than 200, CPU of the server and of
 * this client a request. One thread, epoll. Bodies are put together outside the measured time of a
 * request but inside the loop, so the client's own CPU is printed beside the server's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 20000,
    EVENTS_MAX = 256,
    HEAD_BYTES_MAX = 512,
    ANSWER_BYTES_MAX = 1 << 20,
    SEGMENT_DIMENSIONS = 32,
    SEGMENTS = 4096,
    NUMBER_BYTES_MAX = 16,
};

enum mode {
    MODE_UPSERT,
    MODE_SEARCH,
    MODE_FILE,
};

struct options {
    enum mode mode;
    const char *collection;
    const char *method; /* MODE_FILE */
    const char *path;   /* MODE_FILE */
    const char *bodies; /* MODE_FILE: name of the file */
    uint64_t port;
    uint64_t dimension;
    uint64_t batch; /* points an upsert */
    uint64_t connections;
    uint64_t requests;
    uint64_t first_id;
    uint64_t pid; /* of the server; 0: its CPU is not measured */
};

/* A vector's text is put together of segments, so that no two vectors are alike and yet no number
 * is printed while the clock runs. */
struct segment {
    char text[SEGMENT_DIMENSIONS * NUMBER_BYTES_MAX]; /* "0.1,-0.2,", with a comma at its end */
    size_t bytes;
};

struct connection {
    int fd;
    char *request; /* room for head and body */
    char *begin;   /* in it */
    size_t request_bytes;
    size_t sent_bytes;
    char *answer; /* what came of the answer's head; the body is only counted */
    size_t answer_bytes;
    size_t answer_expected; /* of head and body; 0 while the head is not whole */
    double started;         /* seconds */
    bool is_writable_watched;
};

struct load {
    struct options options;
    struct segment *segments;
    unsigned char *file; /* MODE_FILE */
    size_t file_bytes;
    size_t file_at;
    struct connection *connections;
    double *latencies; /* seconds, one an answer */
    uint64_t begun;
    uint64_t answered;
    uint64_t refused; /* answers whose status is not 200 */
    int first_bad_status;
    uint64_t random;
    uint64_t next_id;
    size_t request_capacity;
    int epoll;
};

static void die(const char *what) {
    fprintf(stderr, "http_load: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(EXIT_FAILURE);
}

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        die("memory");
    return memory;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* xorshift64*, seeded: every run sends the same. */
static uint64_t next_random(struct load *load) {
    load->random ^= load->random >> 12;
    load->random ^= load->random << 25;
    load->random ^= load->random >> 27;
    return load->random * UINT64_C(2685821657736338717);
}

/* ---- Requests ------------------------------------------------------------------------------ */

static void make_segments(struct load *load) {
    load->segments = allocate(SEGMENTS * sizeof(load->segments[0]));
    for (size_t i = 0; i < SEGMENTS; i++) {
        struct segment *segment = &load->segments[i];
        for (size_t d = 0; d < SEGMENT_DIMENSIONS; d++) {
            double uniform = (double)(next_random(load) >> 11) / 9007199254740992.0 - 0.5;
            segment->bytes += (size_t)snprintf(segment->text + segment->bytes, NUMBER_BYTES_MAX,
                                               "%.8f,", uniform);
        }
    }
}

static char *put(char *at, const void *bytes, size_t count) {
    memcpy(at, bytes, count);
    return at + count;
}

static char *put_text(char *at, const char *text) {
    return put(at, text, strlen(text));
}

static char *put_vector(struct load *load, char *at) {
    *at++ = '[';
    for (size_t d = 0; d < load->options.dimension; d += SEGMENT_DIMENSIONS) {
        const struct segment *segment = &load->segments[next_random(load) % SEGMENTS];
        at = put(at, segment->text, segment->bytes);
    }
    at[-1] = ']'; /* in place of the last comma */
    return at;
}

static char *put_upsert(struct load *load, char *at) {
    at = put_text(at, "{\"points\":[");
    for (size_t i = 0; i < load->options.batch; i++) {
        uint64_t id = load->next_id++;
        at += sprintf(at,
                      "%s{\"id\":%" PRIu64 ",\"payload\":{\"city\":\"Rome\",\"n\":%" PRIu64
                      "},\"vector\":",
                      i ? "," : "", id, id % 1000);
        at = put_vector(load, at);
        *at++ = '}';
    }
    return put_text(at, "]}");
}

static char *put_search(struct load *load, char *at) {
    at = put_text(at, "{\"limit\":10,\"query\":");
    at = put_vector(load, at);
    *at++ = '}';
    return at;
}

static char *put_from_file(struct load *load, char *at) {
    uint32_t bytes;
    if (load->file_at + sizeof(bytes) > load->file_bytes)
        load->file_at = 0;
    memcpy(&bytes, load->file + load->file_at, sizeof(bytes));
    load->file_at += sizeof(bytes);
    if (bytes > load->file_bytes - load->file_at || bytes > load->request_capacity - HEAD_BYTES_MAX)
        die("the file of bodies is damaged");
    at = put(at, load->file + load->file_at, bytes);
    load->file_at += bytes;
    return at;
}

/* The body is written behind the room of the largest head, the head then right before it. */
static void make_request(struct load *load, struct connection *connection) {
    const struct options *options = &load->options;
    char head[HEAD_BYTES_MAX], path[HEAD_BYTES_MAX / 2];
    const char *method = "POST";
    char *body = connection->request + HEAD_BYTES_MAX, *end;

    if (options->mode == MODE_UPSERT) {
        method = "PUT";
        snprintf(path, sizeof(path), "/collections/%s/points?wait=true", options->collection);
        end = put_upsert(load, body);
    } else if (options->mode == MODE_SEARCH) {
        snprintf(path, sizeof(path), "/collections/%s/points/query", options->collection);
        end = put_search(load, body);
    } else {
        method = options->method;
        snprintf(path, sizeof(path), "%s", options->path);
        end = put_from_file(load, body);
    }
    int bytes = snprintf(head, sizeof(head),
                         "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         method, path, (size_t)(end - body));
    if (bytes < 0 || (size_t)bytes >= sizeof(head))
        die("the head is too long");
    connection->begin = body - bytes;
    memcpy(connection->begin, head, (size_t)bytes);
    connection->request_bytes = (size_t)(end - connection->begin);
}

/* ---- Connections --------------------------------------------------------------------------- */

static void open_connection(struct load *load, struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)load->options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    fcntl(connection->fd, F_SETFL, fcntl(connection->fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        die("epoll");
    connection->is_writable_watched = false;
}

static void open_connections(struct load *load) {
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = allocate(load->options.connections * sizeof(load->connections[0]));
    for (size_t i = 0; i < load->options.connections; i++) {
        struct connection *connection = &load->connections[i];
        connection->request = allocate(load->request_capacity);
        connection->answer = allocate(ANSWER_BYTES_MAX);
        open_connection(load, connection);
    }
}

static void watch(struct load *load, struct connection *connection, bool is_writable_watched) {
    if (connection->is_writable_watched == is_writable_watched)
        return;
    connection->is_writable_watched = is_writable_watched;
    struct epoll_event event = {.events = EPOLLIN | (is_writable_watched ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, connection->fd, &event) < 0)
        die("epoll");
}

static void send_more(struct load *load, struct connection *connection) {
    while (connection->sent_bytes < connection->request_bytes) {
        ssize_t sent = send(connection->fd, connection->begin + connection->sent_bytes,
                            connection->request_bytes - connection->sent_bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(load, connection, true);
            return;
        }
        if (sent < 0)
            die("send");
        connection->sent_bytes += (size_t)sent;
    }
    watch(load, connection, false);
}

static void begin_request(struct load *load, struct connection *connection) {
    if (load->begun == load->options.requests)
        return;
    load->begun++;
    if (strcasestr(connection->answer, "connection: close")) { /* said the head of the last */
        connection->answer[0] = '\0';
        close(connection->fd);
        open_connection(load, connection);
    }
    make_request(load, connection);
    connection->sent_bytes = connection->answer_bytes = connection->answer_expected = 0;
    connection->started = now();
    send_more(load, connection);
}

static void read_head(struct load *load, struct connection *connection) {
    char *end = memmem(connection->answer, connection->answer_bytes, "\r\n\r\n", 4);
    if (end == NULL) {
        if (connection->answer_bytes >= HEAD_BYTES_MAX * 8)
            die("an answer's head is too long");
        return;
    }
    *end = '\0';
    int status = 0;
    const char *length = strcasestr(connection->answer, "content-length:");
    if (sscanf(connection->answer, "HTTP/1.1 %d", &status) != 1 || length == NULL)
        die("an answer is not HTTP/1.1 with a Content-Length");
    if (status != 200 && load->refused++ == 0)
        load->first_bad_status = status;
    connection->answer_expected = (size_t)(end + 4 - connection->answer) +
                                  (size_t)strtoull(length + strlen("content-length:"), NULL, 10);
}

static void read_more(struct load *load, struct connection *connection) {
    for (;;) {
        size_t room = connection->answer_bytes < ANSWER_BYTES_MAX ? connection->answer_bytes : 0;
        ssize_t received =
            recv(connection->fd, connection->answer + room, ANSWER_BYTES_MAX - room, 0);
        if (received < 0 && errno == EAGAIN)
            return;
        if (received <= 0)
            die("the server closed a connection");
        connection->answer_bytes += (size_t)received;
        if (connection->answer_expected == 0)
            read_head(load, connection);
        if (connection->answer_expected != 0 &&
            connection->answer_bytes >= connection->answer_expected) {
            load->latencies[load->answered++] = now() - connection->started;
            begin_request(load, connection);
            return;
        }
    }
}

static void run(struct load *load) {
    struct epoll_event events[EVENTS_MAX];
    for (size_t i = 0; i < load->options.connections; i++)
        begin_request(load, &load->connections[i]);
    while (load->answered < load->begun) {
        int count = epoll_wait(load->epoll, events, EVENTS_MAX, 60000);
        if (count == 0 || (count < 0 && errno != EINTR))
            die("no answer for a minute");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_more(load, connection);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_more(load, connection);
        }
    }
}

/* ---- What is printed ----------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* CPU time of the server in seconds, counted in nanoseconds. */
static double server_cpu(uint64_t pid) {
    clockid_t clock;
    struct timespec time;
    if (pid == 0)
        return 0;
    errno = clock_getcpuclockid((pid_t)pid, &clock);
    if (errno != 0 || clock_gettime(clock, &time) < 0)
        die("the server's CPU time");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double at_share(const struct load *load, double share) {
    size_t rank = (size_t)(share * (double)(load->answered - 1));
    return load->latencies[rank] * 1e3;
}

static void print(struct load *load, double seconds, double server_seconds, double own_seconds) {
    double count = (double)load->answered;
    qsort(load->latencies, load->answered, sizeof(load->latencies[0]), by_size);
    printf("{\"requests\":%" PRIu64 ",\"seconds\":%.3f,\"rate\":%.1f,\"points_rate\":%.1f,"
           "\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
           "\"refused\":%" PRIu64 ",\"first_bad_status\":%d,\"server_cpu_us\":%.1f,"
           "\"client_cpu_us\":%.1f}\n",
           load->answered, seconds, count / seconds,
           load->options.mode == MODE_UPSERT ? count * (double)load->options.batch / seconds : 0.0,
           at_share(load, 0.5), at_share(load, 0.95), at_share(load, 0.99), at_share(load, 1),
           load->refused, load->first_bad_status, server_seconds / count * 1e6,
           own_seconds / count * 1e6);
}

/* ---- Options ------------------------------------------------------------------------------- */

static void read_file(struct load *load) {
    FILE *file = fopen(load->options.bodies, "rb");
    struct stat about;
    if (file == NULL || fstat(fileno(file), &about) < 0 || about.st_size < 4)
        die(load->options.bodies);
    load->file_bytes = (size_t)about.st_size;
    load->file = allocate(load->file_bytes);
    if (fread(load->file, 1, load->file_bytes, file) != load->file_bytes)
        die(load->options.bodies);
    fclose(file);
}

static enum mode mode_of(const char *name) {
    static const char *const names[] = {"upsert", "search", "file"};
    for (int mode = MODE_UPSERT; mode <= MODE_FILE; mode++)
        if (strcmp(name, names[mode]) == 0)
            return (enum mode)mode;
    errno = EINVAL;
    die("mode is upsert, search or file");
    return MODE_FILE;
}

static void read_options(struct options *options, int count, char **arguments) {
    const char *mode = "search";
    const struct {
        const char *name;
        const char **text;
        uint64_t *number;
    } known[] = {
        {"mode", &mode, NULL},
        {"collection", &options->collection, NULL},
        {"method", &options->method, NULL},
        {"path", &options->path, NULL},
        {"bodies", &options->bodies, NULL},
        {"port", NULL, &options->port},
        {"dimension", NULL, &options->dimension},
        {"batch", NULL, &options->batch},
        {"connections", NULL, &options->connections},
        {"requests", NULL, &options->requests},
        {"first_id", NULL, &options->first_id},
        {"pid", NULL, &options->pid},
    };
    for (int i = 1; i < count; i++) {
        size_t row = 0, bytes = strcspn(arguments[i], "=");
        while (
            row < sizeof(known) / sizeof(known[0]) &&
            (strncmp(known[row].name, arguments[i], bytes) != 0 || known[row].name[bytes] != '\0'))
            row++;
        errno = EINVAL;
        if (row == sizeof(known) / sizeof(known[0]) || arguments[i][bytes] != '=')
            die(arguments[i]);
        if (known[row].text != NULL)
            *known[row].text = arguments[i] + bytes + 1;
        else
            *known[row].number = strtoull(arguments[i] + bytes + 1, NULL, 10);
    }
    options->mode = mode_of(mode);
    errno = EINVAL;
    if (options->dimension == 0 || options->dimension % SEGMENT_DIMENSIONS != 0)
        die("dimension is a multiple of 32");
    if (options->connections == 0 || options->connections > CONNECTIONS_MAX)
        die("connections");
    if (options->requests == 0 || options->port == 0 || options->port > UINT16_MAX)
        die("requests or port");
    errno = 0;
}

int main(int count, char **arguments) {
    struct load load = {.options = {.port = 6333,
                                    .mode = MODE_SEARCH,
                                    .collection = "bench",
                                    .method = "POST",
                                    .path = "/",
                                    .dimension = 768,
                                    .batch = 100,
                                    .connections = 8,
                                    .requests = 1000},
                        .random = UINT64_C(88172645463325252)};
    read_options(&load.options, count, arguments);
    load.next_id = load.options.first_id;
    make_segments(&load);
    size_t vector_bytes = load.options.dimension * NUMBER_BYTES_MAX + 128;
    load.request_capacity = HEAD_BYTES_MAX + vector_bytes;
    if (load.options.mode == MODE_UPSERT)
        load.request_capacity = HEAD_BYTES_MAX + load.options.batch * vector_bytes + 128;
    if (load.options.mode == MODE_FILE) {
        read_file(&load);
        load.request_capacity = HEAD_BYTES_MAX + load.file_bytes;
    }
    load.latencies = allocate(load.options.requests * sizeof(load.latencies[0]));
    open_connections(&load);
    double server = server_cpu(load.options.pid), own = own_cpu(), started = now();
    run(&load);
    double seconds = now() - started;
    print(&load, seconds, server_cpu(load.options.pid) - server, own_cpu() - own);
    return load.refused == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
