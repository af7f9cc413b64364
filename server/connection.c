#include "server/connection_internal.h"

#include "server/connection_states.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <stdlib.h>

void connection_set_deadline(struct connection *connection) {
    connection->unsent = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
    timer_wheel_set(&connection->server->wheel, &connection->timer,
                    connection_states_deadline_ms(connection));
}

void connection_move_to(struct connection *connection, enum connection_state state) {
    assert(connection_states_may_follow(connection->state, state));
    connection->state = state;
    connection->since_ms = server_now_ms(connection->server);
    connection_set_deadline(connection);
}

struct job *connection_create_job(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = job_create(&server->pool, connection);
    if (job)
        job->reply.has_cors = server->config->enable_cors;
    return job;
}

/* ---- The end -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = handle->data;
    struct server *server = connection->server;
    struct job *job = connection->job;
    assert(!connection->seat);
    if (job && job->was_handed_over)
        workers_release_later(server->workers, job, true);
    else if (job)
        job_release(job);
    job_totals_give(&server->totals, connection->unread_length);
    free(connection->unread);
    http_parser_free(&connection->parser);
    server_remove_connection(server, connection);
    free(connection);
}

void connection_end(struct connection *connection) {
    connection_move_to(connection, CONNECTION_CLOSING);
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

/* The client of a running request is gone. False: a worker may be about to send on the socket,
 * which must stay open until the job has come back. */
static bool abandon_job(struct connection *connection) {
    struct job *job = connection->job;
    if (connection->is_abandoned)
        return false;
    enum reply_stage stage = reply_recall(&job->reply);
    if (stage == REPLY_SENT)
        return true;
    atomic_store_explicit(&job->call.is_cancelled, true, memory_order_relaxed);
    metrics_add(connection->server->metrics, METRICS_clients_gone, 1);
    if (stage == REPLY_AWAITED) {
        connection->is_abandoned = true;
        connection->is_reading = false;
        uv_read_stop((uv_stream_t *)&connection->tcp);
        return false;
    }
    job->connection = NULL; /* it comes back to nobody */
    connection->job = NULL;
    return true;
}

void connection_close(struct connection *connection) {
    if (connection->state == CONNECTION_CLOSING)
        return;
    bool is_ours = connection->state == CONNECTION_RUNNING ? abandon_job(connection)
                   : connection->state == CONNECTION_LANED ? connection_lane_abandon(connection)
                                                           : true;
    if (is_ours)
        connection_end(connection);
}

/* ---- From outside --------------------------------------------------------------------------- */

void connection_answer(struct server *server, struct job *job) {
    struct connection *connection = job->connection;
    if (!connection) {
        workers_release_later(server->workers, job, true);
        return;
    }
    assert(connection->state == CONNECTION_RUNNING);
    assert(connection->job == job);
    if (connection->is_abandoned)
        connection_end(connection);
    else if (job->reply.is_begun)
        connection_output_resume(connection);
    else
        connection_output_send(connection);
}

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
            connection_set_deadline(connection);
            break;
        }
        /* fall through */
    case CONNECTION_HEAD:
        metrics_add(server->metrics, METRICS_deadlines_missed, 1);
        connection_output_refuse(connection, 408, "the request took too long to arrive");
        break;
    case CONNECTION_RUNNING:
        if (reply_is_sent(&connection->job->reply))
            connection_output_resume(connection);
        else if (connection->input_ended)
            atomic_store_explicit(&connection->job->call.is_cancelled, true, memory_order_relaxed);
        else
            connection_set_deadline(connection);
        break;
    case CONNECTION_LANED:
        connection_lane_look(connection);
        break;
    case CONNECTION_ANSWERING:
        unsent = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
        if (unsent < connection->unsent) {
            connection_set_deadline(connection);
            break;
        }
        metrics_add(server->metrics, METRICS_deadlines_missed, 1);
        connection_close(connection);
        break;
    default:
        connection_close(connection);
    }
}

void connection_drain(struct connection *connection) {
    connection_output_take_back(connection);
    if (connection->state == CONNECTION_LANED)
        connection_lane_recall(connection);
    if (connection->state == CONNECTION_IDLE)
        connection_close(connection);
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
    connection->lane_from = connection->lane_patience = CONNECTION_LANE_AFTER;
    connection_input_init(connection);
    server_add_connection(server, connection);
    return connection;
}

void connection_start(struct connection *connection) {
    (void)uv_tcp_nodelay(&connection->tcp, 1); /* answers are written whole */
    if (uv_fileno((uv_handle_t *)&connection->tcp, &connection->fd) < 0) {
        connection_close(connection);
        return;
    }
    connection_set_deadline(connection);
    connection_input_start(connection);
}
