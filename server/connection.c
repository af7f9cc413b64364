#include "server/connection.h"

#include "server/connection_states.h"
#include "server/http_response.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void consume(struct connection *connection, const char *bytes, size_t length);
static void start_reading(struct connection *connection);

static void set_deadline(struct connection *connection) {
    connection->unsent = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
    timer_wheel_set(&connection->server->wheel, &connection->timer,
                    connection_states_deadline_ms(connection));
}

static void move_to(struct connection *connection, enum connection_state state) {
    assert(connection_states_may_follow(connection->state, state));
    connection->state = state;
    connection->since_ms = server_now_ms(connection->server);
    set_deadline(connection);
}

/* ---- The end -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = handle->data;
    struct server *server = connection->server;
    if (connection->job && connection->job->was_handed_over)
        workers_release_later(server->workers, connection->job, true);
    else if (connection->job)
        job_release(connection->job);
    job_totals_give(&server->totals, connection->unread_length);
    free(connection->unread);
    http_parser_free(&connection->parser);
    server_remove_connection(server, connection);
    free(connection);
}

void connection_close(struct connection *connection) {
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (connection->state == CONNECTION_RUNNING) {
        /* The job belongs to a worker; it comes back to nobody. */
        assert(connection->job);
        atomic_store_explicit(&connection->job->call.is_cancelled, true, memory_order_relaxed);
        connection->job->connection = NULL;
        connection->job = NULL;
        metrics_add(connection->server->metrics, METRICS_clients_gone, 1);
    }
    move_to(connection, CONNECTION_CLOSING);
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

/* Says that no more will come, and waits for the client to have read what came. */
static void linger(struct connection *connection) {
    move_to(connection, CONNECTION_LINGERING);
    connection->received = 0;
    if (connection->input_ended ||
        uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, NULL) < 0) {
        connection_close(connection);
        return;
    }
    start_reading(connection);
}

/* ---- Sending -------------------------------------------------------------------------------- */

/* The answer is sent: on to the next request, or to the end. */
static void finish_answer(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    connection->job = NULL;
    connection->requests++;
    metrics_count_answer(server->metrics, job->call.route, job->call.answer.http_status,
                         uv_hrtime() - job->call.started_ns);
    if (job->was_handed_over)
        workers_release_later(server->workers, job, job_is_large(job));
    else
        job_release(job);

    if (!connection->stays && connection->is_last) {
        connection_close(connection);
        return;
    }
    if (!connection->stays) {
        linger(connection);
        return;
    }
    move_to(connection, CONNECTION_IDLE);
    if (connection->unread) {
        char *unread = connection->unread;
        size_t length = connection->unread_length;
        connection->unread = NULL;
        connection->unread_length = 0;
        consume(connection, unread, length);
        job_totals_give(&server->totals, length);
        free(unread);
    }
    if (connection->input_ended && connection->state <= CONNECTION_BODY)
        connection_close(connection);
    else
        start_reading(connection);
}

/* Lays out the next step of the answer, of its head and its body; returns the number of buffers. */
static unsigned next_step(const struct connection *connection, uv_buf_t buffers[2]) {
    const struct http_text parts[] = {connection->head_left, connection->body_left};
    size_t room = CONNECTION_SEND_STEP_BYTES;
    unsigned count = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t length = parts[i].length < room ? parts[i].length : room;
        if (length > 0)
            buffers[count++] = (uv_buf_t){.base = (char *)(uintptr_t)parts[i].bytes, .len = length};
        room -= length;
    }
    return count;
}

/* Counts bytes as given to the socket. */
static void pass(struct http_text *text, size_t *sent) {
    size_t length = *sent < text->length ? *sent : text->length;
    text->bytes += length;
    text->length -= length;
    *sent -= length;
}

static void on_written(uv_write_t *request, int code);

/* Gives the socket the next steps of the answer: one that it takes at once, and one for when it
 * can. A step is bounded, for copying megabytes into a socket keeps the loop for milliseconds. */
static void send_on(struct connection *connection) {
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    uv_buf_t buffers[2];
    unsigned count = next_step(connection, buffers);
    int taken = count > 0 ? uv_try_write(stream, buffers, count) : 0;
    if (taken < 0 && taken != UV_EAGAIN) {
        connection_close(connection);
        return;
    }
    size_t sent = taken > 0 ? (size_t)taken : 0;
    pass(&connection->head_left, &sent);
    pass(&connection->body_left, &sent);
    count = next_step(connection, buffers);
    if (count == 0) {
        finish_answer(connection);
        return;
    }
    sent = buffers[0].len + (count > 1 ? buffers[1].len : 0);
    pass(&connection->head_left, &sent);
    pass(&connection->body_left, &sent);
    if (uv_write(&connection->write, stream, buffers, count, on_written) < 0)
        connection_close(connection);
    else
        set_deadline(connection);
}

static void on_written(uv_write_t *request, int code) {
    struct connection *connection = request->handle->data;
    loop_clock_enter(&connection->server->clock);
    if (connection->state != CONNECTION_CLOSING) {
        if (code < 0)
            connection_close(connection);
        else
            send_on(connection);
    }
    loop_clock_leave(&connection->server->clock);
}

/* Sends the answer that stands in the connection's job. */
static void send_answer(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    const struct api_answer *answer = &job->call.answer;
    bool is_old = server_now_ms(server) - connection->opened_ms > CONNECTION_AGE_MAX_MS;
    if (server->is_draining || is_old || connection->requests + 1 >= CONNECTION_REQUESTS_MAX)
        connection->stays = false;
    size_t head_length = http_response_write_head(
        &(struct http_response){
            .http_status = answer->http_status,
            .content_type = answer->content_type,
            .length = answer->length,
            .retry_after_s = answer->retry_after_s,
            .allow = connection->traits.allow,
            .is_closing = !connection->stays,
            .is_http_1_0 = connection->traits.is_http_1_0,
            .has_cors = server->config->enable_cors,
            .is_preflight = connection->traits.is_preflight,
            .now = time(NULL),
        },
        job->head);
    bool has_body = answer->length > 0 && !connection->traits.is_head;
    connection->head_left = (struct http_text){.bytes = job->head, .length = head_length};
    connection->body_left =
        (struct http_text){.bytes = answer->body, .length = has_body ? answer->length : 0};
    move_to(connection, CONNECTION_ANSWERING);
    send_on(connection);
}

void connection_answer(struct server *server, struct job *job) {
    struct connection *connection = job->connection;
    if (!connection) {
        workers_release_later(server->workers, job, true);
        return;
    }
    assert(connection->state == CONNECTION_RUNNING && connection->job == job);
    send_answer(connection);
}

/* Answers a request that cannot be read on; the connection ends with it. */
static void refuse(struct connection *connection, unsigned http_status, const char *text) {
    struct server *server = connection->server;
    connection->stays = connection->is_last = false;
    connection->discards = true;
    if (!connection->job) {
        connection->job = job_create(&server->totals, connection);
        connection->traits = (struct request_traits){0};
    }
    if (!connection->job) {
        connection_close(connection);
        return;
    }
    if (http_status == 503)
        request_refuse_for_now(connection->job, text);
    else
        request_refuse(connection->job, http_status, text);
    send_answer(connection);
}

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
    move_to(connection, CONNECTION_BODY);
    connection->received = connection->received_before = 0;
    connection->stays = connection->parser.is_keep_alive;
    connection->is_last = !connection->stays;
    connection->is_body_lost = false;
    connection->job = job_create(&server->totals, connection);
    if (!connection->job) {
        connection_close(connection);
        return;
    }
    enum request_verdict verdict =
        request_judge(server, head, connection->job, &connection->traits);
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
        send_answer(connection);
    } else if (head->expects_continue) {
        send_continue(connection);
    }
}

/* From here on the job is a worker's, unless the queue is full. */
static bool hand_over(struct server *server, struct job *job) {
    job->was_handed_over = true;
    if (workers_submit(server->workers, job))
        return true;
    job->was_handed_over = false;
    return false;
}

static void finish_request(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    move_to(connection, CONNECTION_RUNNING);
    if (connection->is_answered) {
        workers_return(server->workers, job);
    } else if (connection->runs_on_loop) {
        api_run(&job->call);
    } else if (hand_over(server, job)) {
        metrics_add(server->metrics, METRICS_jobs_run, 1);
    } else {
        metrics_add(server->metrics, METRICS_requests_refused, 1);
        request_refuse_for_now(job, "too many requests are waiting");
        workers_return(server->workers, job);
    }
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
        connection->stays = false; /* the answer in flight says so */
        return;
    }
    memcpy(grown + connection->unread_length, bytes, length);
    connection->unread = grown;
    connection->unread_length += length;
}

/* Parses bytes until they end or a request is complete; then the rest must wait. */
static void consume(struct connection *connection, const char *bytes, size_t length) {
    struct server *server = connection->server;
    bool is_begun = false; /* a request without body is complete without another byte */
    while (connection->state <= CONNECTION_BODY && (length > 0 || is_begun)) {
        size_t taken;
        if (connection->state == CONNECTION_IDLE)
            move_to(connection, CONNECTION_HEAD);
        enum http_event event =
            http_parser_feed(&connection->parser, bytes, length, &taken, &server->head);
        bytes += taken;
        length -= taken;
        is_begun = event == HTTP_EVENT_HEAD;
        if (connection->is_body_lost && event != HTTP_EVENT_REFUSED) {
            refuse(connection, 503, "no memory for the body at the moment");
        } else if (event == HTTP_EVENT_HEAD) {
            begin_request(connection);
        } else if (event == HTTP_EVENT_COMPLETE) {
            finish_request(connection);
        } else if (event == HTTP_EVENT_REFUSED) {
            metrics_add(server->metrics, METRICS_requests_malformed, 1);
            refuse(connection, connection->parser.refusal.http_status,
                   connection->parser.refusal.text);
        }
    }
    if (connection->state == CONNECTION_RUNNING || connection->state == CONNECTION_ANSWERING)
        keep_unread(connection, bytes, length);
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
            set_deadline(connection);
        break;
    case CONNECTION_CLOSING:
        break;
    default:
        consume(connection, bytes, length);
    }
}

/* The client will send no more. It may still read: answers under way are sent. */
static void end_input(struct connection *connection) {
    connection->input_ended = true;
    connection->is_reading = false;
    if (connection->state == CONNECTION_RUNNING)
        set_deadline(connection);
    else if (connection->state != CONNECTION_ANSWERING)
        connection_close(connection);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
    struct connection *connection = stream->data;
    struct server *server = connection->server;
    loop_clock_enter(&server->clock);
    if (length > 0)
        take_bytes(connection, buffer->base, (size_t)length);
    else if (length == UV_EOF)
        end_input(connection);
    else if (length < 0)
        connection_close(connection);
    loop_clock_leave(&server->clock);
}

static void start_reading(struct connection *connection) {
    if (connection->is_reading || connection->input_ended ||
        connection->state == CONNECTION_CLOSING)
        return;
    if (uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) < 0)
        connection_close(connection);
    else
        connection->is_reading = true;
}

/* ---- From outside --------------------------------------------------------------------------- */

void connection_expire(struct timer_entry *timer) {
    struct connection *connection =
        (struct connection *)((char *)timer - offsetof(struct connection, timer));
    struct server *server = connection->server;
    size_t unsent;
    switch (connection->state) {
    case CONNECTION_BODY:
        if (connection->received - connection->received_before >= CONNECTION_BODY_WINDOW_BYTES) {
            connection->received_before = connection->received;
            connection->since_ms = server_now_ms(server);
            set_deadline(connection);
            break;
        }
        /* fall through */
    case CONNECTION_HEAD:
        metrics_add(server->metrics, METRICS_deadlines_missed, 1);
        refuse(connection, 408, "the request took too long to arrive");
        break;
    case CONNECTION_RUNNING:
        atomic_store_explicit(&connection->job->call.is_cancelled, true, memory_order_relaxed);
        break;
    case CONNECTION_ANSWERING:
        unsent = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
        if (unsent < connection->unsent) {
            set_deadline(connection);
            break;
        }
        metrics_add(server->metrics, METRICS_deadlines_missed, 1);
        connection_close(connection);
        break;
    default:
        connection_close(connection);
    }
}

struct connection *connection_create(struct server *server) {
    assert(thread_role_may_act_as(THREAD_ROLE_LOOP));
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    if (uv_tcp_init(&server->loop, &connection->tcp) < 0) {
        free(connection);
        return NULL;
    }
    connection->server = server;
    connection->tcp.data = connection;
    connection->opened_ms = connection->since_ms = server_now_ms(server);
    http_parser_init(&connection->parser, on_body, connection);
    server_add_connection(server, connection);
    return connection;
}

void connection_start(struct connection *connection) {
    (void)uv_tcp_nodelay(&connection->tcp, 1); /* answers are written whole */
    set_deadline(connection);
    start_reading(connection);
}
