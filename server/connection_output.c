/* connection_output.c -- the answers of a connection, on their way out. */
#include "server/connection_internal.h"

#include <stdlib.h>

/* Says that no more will come, and waits for the client to have read what came. */
static void linger(struct connection *connection) {
    connection_move_to(connection, CONNECTION_LINGERING);
    connection->received = 0;
    if (connection->input_ended ||
        uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, NULL) < 0) {
        connection_close(connection);
        return;
    }
    connection_input_start(connection);
}

void connection_output_go_on(struct connection *connection) {
    struct server *server = connection->server;
    connection_move_to(connection, CONNECTION_IDLE);
    if (connection->unread) {
        char *unread = connection->unread;
        size_t length = connection->unread_length;
        connection->unread = NULL;
        connection->unread_length = 0;
        connection_input_consume(connection, unread, length);
        job_totals_give(&server->totals, length);
        free(unread);
    }
    bool is_over = (connection->input_ended && connection->state <= CONNECTION_BODY) ||
                   (server->is_draining && connection->state == CONNECTION_IDLE);
    if (is_over)
        connection_close(connection);
    else
        connection_input_start(connection);
}

/* The answer is sent. */
static void finish_answer(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    connection->job = NULL;
    connection->requests++;
    if (!job->reply.is_counted)
        metrics_count_answer(server->metrics, job->call.route, job->call.answer.http_status,
                             uv_hrtime() - job->call.started_ns);
    if (job->was_handed_over)
        workers_release_later(server->workers, job, job_is_large(job));
    else
        job_release(job);

    if (connection->stays)
        connection_output_go_on(connection);
    else if (connection->is_last)
        connection_close(connection);
    else
        linger(connection);
}

static void on_written(uv_write_t *request, int code);

/* Gives the socket the next steps of the answer: one that it takes at once, and one for when it
 * can. A step is bounded, for copying megabytes into a socket keeps the loop for milliseconds. */
static void send_on(struct connection *connection) {
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    struct reply *reply = &connection->job->reply;
    uv_buf_t buffers[REPLY_BUFFERS];
    unsigned count = reply_next(reply, CONNECTION_SEND_STEP_BYTES, buffers);
    int taken = count > 0 ? uv_try_write(stream, buffers, count) : 0;
    if (taken < 0 && taken != UV_EAGAIN) {
        connection_close(connection);
        return;
    }
    if (taken > 0)
        reply_pass(reply, (size_t)taken);
    count = reply_next(reply, CONNECTION_SEND_STEP_BYTES, buffers);
    if (count == 0) {
        finish_answer(connection);
        return;
    }
    reply_pass(reply, buffers[0].len + (count > 1 ? buffers[1].len : 0));
    if (uv_write(&connection->write, stream, buffers, count, on_written) < 0)
        connection_close(connection);
    else
        connection_set_deadline(connection);
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

bool connection_output_may_stay(const struct connection *connection) {
    const struct server *server = connection->server;
    uint64_t age_ms = server_now_ms(server) - connection->opened_ms;
    return connection->stays && !server->is_draining && age_ms <= CONNECTION_AGE_MAX_MS &&
           connection->requests + 1 < CONNECTION_REQUESTS_MAX;
}

void connection_output_resume(struct connection *connection) {
    connection_move_to(connection, CONNECTION_ANSWERING);
    send_on(connection);
}

void connection_output_send(struct connection *connection) {
    struct job *job = connection->job;
    connection->stays = connection_output_may_stay(connection);
    reply_begin(&job->reply, &job->call.answer, !connection->stays);
    connection_output_resume(connection);
}

void connection_output_take_back(struct connection *connection) {
    if (connection->state != CONNECTION_RUNNING)
        return;
    connection->is_delegated = false;
    if (reply_recall(&connection->job->reply) == REPLY_SENT)
        connection_output_resume(connection);
}

void connection_output_refuse(struct connection *connection, unsigned http_status,
                              const char *text) {
    connection->stays = connection->is_last = false;
    connection->discards = true;
    if (!connection->job)
        connection->job = connection_create_job(connection);
    if (!connection->job) {
        connection_close(connection);
        return;
    }
    if (http_status == 503)
        request_refuse_for_now(connection->job, text);
    else
        request_refuse(connection->job, http_status, text);
    connection_output_send(connection);
}
