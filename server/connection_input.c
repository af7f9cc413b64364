/* connection_input.c -- the bytes that come in on a connection, and the requests that they are. */
#include "server/connection_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- Requests ------------------------------------------------------------------------------- */

/* Tells a client that waits for it to send its body. 25 bytes fit into an empty socket buffer; if
 * they do not, the client is not reading and will run into its deadline. */
static void send_continue(struct connection *connection) {
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uv_buf_t buffer = uv_buf_init(text, sizeof(text) - 1);
    int sent = uv_try_write((uv_stream_t *)&connection->tcp, &buffer, 1);
    if (sent != (int)buffer.len)
        connection_close(connection);
}

static void begin_request(struct connection *connection) {
    struct server *server = connection->server;
    const struct http_head *head = &server->head;
    connection_move_to(connection, CONNECTION_BODY);
    connection->received = connection->received_before = 0;
    connection->stays = connection->parser.is_keep_alive;
    connection->is_last = !connection->stays;
    connection->is_body_lost = false;
    connection->job = connection_create_job(connection);
    if (!connection->job) {
        connection_close(connection);
        return;
    }
    enum request_verdict verdict = request_judge(server, head, connection->job);
    connection->is_answered = verdict == REQUEST_ANSWERED || verdict == REQUEST_LAST;
    connection->runs_on_loop = verdict == REQUEST_RUN_ON_LOOP;
    connection->discards = verdict != REQUEST_RUN;
    uint64_t bytes_max = connection->discards ? SERVER_DISCARD_BYTES_MAX
                                              : server->config->max_request_size_mb * 1024 * 1024;
    http_parser_set_body_max(&connection->parser, bytes_max);

    /* Throwing a body away costs less than a new connection, unless it is long, or the client may
     * not even send it. */
    bool ends_here = verdict == REQUEST_LAST ||
                     (connection->is_answered &&
                      (head->expects_continue || head->content_length > SERVER_DISCARD_BYTES_MAX));
    if (ends_here) {
        connection->stays = connection->is_last = false;
        connection_output_send(connection);
    } else if (head->expects_continue) {
        send_continue(connection);
    }
}

/* True if nothing but the next request will follow the answer, so that a worker may send it. */
static bool may_delegate(const struct connection *connection) {
    return connection_output_may_stay(connection) && !connection->input_ended &&
           !connection->unread &&
           uv_stream_get_write_queue_size((const uv_stream_t *)&connection->tcp) == 0;
}

/* Hands the request that stands in the connection's job to a worker, whose it is from here on,
 * unless the queue is full. is_last: nothing came behind it. */
static void hand_over(struct connection *connection, bool is_last) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    connection->is_delegated = is_last && may_delegate(connection);
    connection_move_to(connection, CONNECTION_RUNNING);
    job->was_handed_over = true;
    if (connection->is_delegated) {
        reply_allow(&job->reply, connection->fd);
        connection_lane_enter(connection);
    }
    if (workers_submit(server->workers, job)) {
        metrics_add(server->metrics, METRICS_jobs_run, 1);
        return;
    }
    if (connection->state == CONNECTION_LANED)
        connection_lane_undo(connection, job);
    (void)reply_recall(&job->reply);
    job->was_handed_over = false;
    metrics_add(server->metrics, METRICS_requests_refused, 1);
    request_refuse_for_now(job, "too many requests are waiting");
    workers_return(server->workers, job);
}

/* is_last: nothing came behind the request. */
static void finish_request(struct connection *connection, bool is_last) {
    if (!connection->is_answered && !connection->runs_on_loop) {
        hand_over(connection, is_last);
        return;
    }
    connection->is_delegated = false;
    connection_move_to(connection, CONNECTION_RUNNING);
    if (connection->is_answered)
        workers_return(connection->server->workers, connection->job);
    else
        api_run(&connection->job->call);
}

static void on_body(void *context, const char *bytes, size_t length) {
    struct connection *connection = context;
    connection->received += length;
    if (connection->discards || connection->is_body_lost)
        return;
    if (job_append_body(connection->job, bytes, length) != STATUS_OK)
        connection->is_body_lost = true;
}

/* Keeps what the client sent ahead. */
static void keep_unread(struct connection *connection, const char *bytes, size_t length) {
    struct server *server = connection->server;
    if (length == 0)
        return;
    if (!connection->stays) { /* nothing after the last request counts */
        connection->is_last = false;
        return;
    }
    char *grown = NULL;
    if (job_totals_take(&server->totals, length)) {
        grown = realloc(connection->unread, connection->unread_length + length);
        if (!grown)
            job_totals_give(&server->totals, length);
    }
    if (!grown) {
        connection->stays = false; /* the answer in flight says so, unless it is being sent */
        return;
    }
    memcpy(grown + connection->unread_length, bytes, length);
    connection->unread = grown;
    connection->unread_length += length;
}

void connection_input_consume(struct connection *connection, const char *bytes, size_t length) {
    struct server *server = connection->server;
    bool is_begun = false; /* a request without body is complete without another byte */
    while (connection->state <= CONNECTION_BODY && (length > 0 || is_begun)) {
        size_t taken;
        if (connection->state == CONNECTION_IDLE)
            connection_move_to(connection, CONNECTION_HEAD);
        enum http_event event =
            http_parser_feed(&connection->parser, bytes, length, &taken, &server->head);
        bytes += taken;
        length -= taken;
        is_begun = event == HTTP_EVENT_HEAD;
        if (connection->is_body_lost && event != HTTP_EVENT_REFUSED) {
            connection_output_refuse(connection, 503, "no memory for the body at the moment");
        } else if (event == HTTP_EVENT_HEAD) {
            begin_request(connection);
        } else if (event == HTTP_EVENT_COMPLETE) {
            finish_request(connection, length == 0);
        } else if (event == HTTP_EVENT_REFUSED) {
            metrics_add(server->metrics, METRICS_requests_malformed, 1);
            connection_output_refuse(connection, connection->parser.refusal.http_status,
                                     connection->parser.refusal.text);
        }
    }
    if (connection->state == CONNECTION_RUNNING || connection->state == CONNECTION_ANSWERING)
        keep_unread(connection, bytes, length);
}

void connection_input_init(struct connection *connection) {
    http_parser_init(&connection->parser, on_body, connection);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct connection *connection = handle->data;
    size_t room = 0;
    char *to = NULL;
    (void)suggested;
    if (connection->state == CONNECTION_BODY && connection->parser.state == HTTP_PARSER_LENGTH &&
        !connection->discards)
        to = job_body_room(connection->job, &room);
    if (room > SERVER_READ_BUFFER_BYTES)
        room = SERVER_READ_BUFFER_BYTES; /* one read may not keep the loop for long */
    *buffer = room > 0 ? uv_buf_init(to, (unsigned)room)
                       : uv_buf_init(connection->server->read_buffer, SERVER_READ_BUFFER_BYTES);
}

static void take_bytes(struct connection *connection, const char *bytes, size_t length) {
    switch (connection->state) {
    case CONNECTION_RUNNING:
    case CONNECTION_LANED: /* recalled */
    case CONNECTION_ANSWERING:
        keep_unread(connection, bytes, length);
        if (connection->stays && connection->unread_length >= CONNECTION_UNREAD_BYTES_MAX) {
            uv_read_stop((uv_stream_t *)&connection->tcp);
            connection->is_reading = false;
        }
        break;
    case CONNECTION_LINGERING:
        connection->received += length;
        if (connection->received > CONNECTION_LINGER_BYTES_MAX)
            connection_close(connection);
        else
            connection_set_deadline(connection);
        break;
    case CONNECTION_CLOSING:
        break;
    default:
        connection_input_consume(connection, bytes, length);
    }
}

/* The client will send no more. It may still read: answers under way are sent. */
static void end_input(struct connection *connection) {
    connection->input_ended = true;
    connection->is_reading = false;
    if (connection->state == CONNECTION_RUNNING || connection->state == CONNECTION_LANED)
        connection_set_deadline(connection);
    else if (connection->state != CONNECTION_ANSWERING)
        connection_close(connection);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
    struct connection *connection = stream->data;
    struct server *server = connection->server;
    loop_clock_enter(&server->clock);
    if (length != 0)
        connection_output_take_back(connection);
    if (length > 0)
        take_bytes(connection, buffer->base, (size_t)length);
    else if (length == UV_EOF)
        end_input(connection);
    else if (length < 0)
        connection_close(connection);
    loop_clock_leave(&server->clock);
}

void connection_input_start(struct connection *connection) {
    bool is_workers = connection->state == CONNECTION_LANED && !connection->is_recalled;
    if (connection->is_reading || connection->input_ended || is_workers ||
        connection->state == CONNECTION_CLOSING)
        return;
    if (uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) < 0)
        connection_close(connection);
    else
        connection->is_reading = true;
}
