/* connection_lane.c -- a connection's time in the lane, as the loop sees it. */
#include "server/connection_internal.h"

#include <assert.h>

/* ---- In -------------------------------------------------------------------------------------- */

void connection_lane_enter(struct connection *connection) {
    struct server *server = connection->server;
    struct job *job = connection->job;
    if (connection->requests < connection->lane_from || job->call.route->access != ACCESS_READ)
        return;
    /* The last request that it may make is the loop's, which says so in the answer. */
    struct lane_seat *seat = lane_enter(server->lane, connection, connection->fd, job,
                                        CONNECTION_REQUESTS_MAX - 1 - connection->requests);
    if (!seat)
        return;
    connection->seat = seat;
    connection->job = NULL;
    connection->lane_served = 0;
    connection->is_recalled = false;
    uv_read_stop((uv_stream_t *)&connection->tcp);
    connection->is_reading = false;
    metrics_add(server->metrics, METRICS_connections_laned, 1);
    connection_move_to(connection, CONNECTION_LANED);
}

/* ---- Out ------------------------------------------------------------------------------------- */

/* The seat is the loop's again: takes out what is in it, and leaves it. */
static void leave(struct connection *connection) {
    struct server *server = connection->server;
    struct lane_seat *seat = connection->seat;
    uint32_t served = lane_served(seat);
    bool was_unusual = seat->is_unusual;
    /* Only a running request is read on beside, and then the seat has no bytes. */
    assert(!seat->bytes || !connection->unread);
    if (seat->bytes) {
        connection->unread = seat->bytes;
        connection->unread_length = seat->length;
    }
    connection->job = seat->job;
    if (connection->job)
        connection->job->seat = NULL;
    lane_leave(server->lane, seat);
    metrics_add(server->metrics, METRICS_connections_laned, -1);
    connection->seat = NULL;
    connection->requests += served;
    if (was_unusual && connection->lane_patience < CONNECTION_LANE_AFTER_MAX)
        connection->lane_patience *= 2;
    connection->lane_from =
        connection->requests + (was_unusual ? connection->lane_patience : CONNECTION_LANE_AFTER);
}

void connection_lane_undo(struct connection *connection, struct job *job) {
    leave(connection);
    connection->job = job;
    job->seat = NULL;
    connection_move_to(connection, CONNECTION_RUNNING);
    connection_input_start(connection);
}

void connection_lane_return(struct lane_seat *seat) {
    struct connection *connection = seat->connection;
    bool is_lost = seat->is_lost;
    leave(connection);
    if (connection->is_abandoned || is_lost) {
        connection_end(connection);
    } else if (connection->job) {
        connection_move_to(connection, CONNECTION_RUNNING);
        connection_answer(connection->server, connection->job);
    } else {
        connection_output_go_on(connection);
    }
}

/* While a request of a recalled seat runs nobody else reads: we learn whether its client leaves. */
static void listen_beside(struct connection *connection) {
    if (!connection->is_abandoned && lane_is_running(connection->seat))
        connection_input_start(connection);
}

void connection_lane_recall(struct connection *connection) {
    struct lane_seat *seat = connection->seat;
    if (lane_recall(seat)) {
        connection_lane_return(seat);
        return;
    }
    connection->is_recalled = true;
    listen_beside(connection);
    if (connection->state == CONNECTION_LANED)
        connection_set_deadline(connection);
}

void connection_lane_look(struct connection *connection) {
    struct lane_seat *seat = connection->seat;
    uint64_t age_ms = server_now_ms(connection->server) - connection->opened_ms;
    unsigned served = lane_served(seat);
    if (connection->is_recalled) {
        listen_beside(connection); /* it was read, and not yet run, when the seat was recalled */
        if (connection->input_ended)
            (void)lane_cancel(seat);
    }
    if (!connection->is_recalled &&
        (served == connection->lane_served || age_ms > CONNECTION_AGE_MAX_MS)) {
        connection_lane_recall(connection);
        return;
    }
    connection->lane_served = served;
    connection_set_deadline(connection);
}

bool connection_lane_abandon(struct connection *connection) {
    struct lane_seat *seat = connection->seat;
    if (connection->is_abandoned)
        return false;
    if (lane_recall(seat)) {
        leave(connection);
        return true;
    }
    connection->is_recalled = connection->is_abandoned = true;
    if (lane_cancel(seat))
        metrics_add(connection->server->metrics, METRICS_clients_gone, 1);
    connection->is_reading = false;
    uv_read_stop((uv_stream_t *)&connection->tcp);
    return false;
}
