/* connection_states.h -- which state of a connection may follow which, and how long each may last.
 *
 * connection.h draws the picture. Loop thread; no side effects.
 */
#ifndef CONNECTION_STATES_H
#define CONNECTION_STATES_H

#include "server/connection.h"

bool connection_states_may_follow(enum connection_state from, enum connection_state to);

/* When the connection's present state must end, in the loop's milliseconds; UINT64_MAX: whenever
 * it does. Most are counted from the state's start, so that a client cannot put the end off
 * by sending or taking a byte now and then. */
uint64_t connection_states_deadline_ms(const struct connection *connection);

#endif
