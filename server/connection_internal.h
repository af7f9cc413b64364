/* connection_internal.h -- what the files of a connection know of each other.
 *
 * connection.c has its life, connection_input.c what comes in, connection_output.c what goes out,
 * connection_lane.c its time in the lane; they share the struct (connection.h). Each of these may
 * close the connection: look at its state before you go on. Loop thread.
 */
#ifndef CONNECTION_INTERNAL_H
#define CONNECTION_INTERNAL_H

#include "server/connection.h"

/* ---- connection.c --------------------------------------------------------------------------- */

/* Goes to the next state, if that may follow (connection_states.h), and sets its deadline. */
void connection_move_to(struct connection *connection, enum connection_state state);

/* Sets the deadline of the present state anew. */
void connection_set_deadline(struct connection *connection);

/* Closes the socket, which no worker can be using. */
void connection_end(struct connection *connection);

/* A job for a request of the connection; NULL: out of memory. */
struct job *connection_create_job(struct connection *connection);

/* ---- connection_input.c --------------------------------------------------------------------- */

/* Before its first byte. */
void connection_input_init(struct connection *connection);

/* Reads on, unless it reads already, workers do, or there is nothing more to read. */
void connection_input_start(struct connection *connection);

/* Parses bytes until they end or a request is complete; then the rest must wait. */
void connection_input_consume(struct connection *connection, const char *bytes, size_t length);

/* ---- connection_output.c -------------------------------------------------------------------- */

/* Sends the answer that stands in the connection's job. */
void connection_output_send(struct connection *connection);

/* On to the next request, which may have come already, or to the end. In any state that IDLE may
 * follow. */
void connection_output_go_on(struct connection *connection);

/* Sends what is left of an answer that was begun, if anything. */
void connection_output_resume(struct connection *connection);

/* Something happens on the connection: the loop takes back the sending of the answer, or learns
 * that a worker has sent it. */
void connection_output_take_back(struct connection *connection);

/* Answers a request that cannot be read on; the connection ends with it. */
void connection_output_refuse(struct connection *connection, unsigned http_status,
                              const char *text);

/* True if another request may follow the present one. */
bool connection_output_may_stay(const struct connection *connection);

/* ---- connection_lane.c ---------------------------------------------------------------------- */

/* Gives the connection a seat in the lane, if it may have one: the job, which must be handed to a
 * worker next, is the lane's then, and the connection LANED. While RUNNING. */
void connection_lane_enter(struct connection *connection);

/* The job could not be handed over: RUNNING again. */
void connection_lane_undo(struct connection *connection, struct job *job);

/* Has it back as soon as can be. While LANED. */
void connection_lane_recall(struct connection *connection);

/* A look now and then. While LANED. */
void connection_lane_look(struct connection *connection);

/* The connection is to end. True: it is the loop's; false: a worker may be using the socket, which
 * must stay open until the seat has come back. While LANED. */
MUST_CHECK bool connection_lane_abandon(struct connection *connection);

#endif
