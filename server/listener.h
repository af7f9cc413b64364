/* listener.h -- the socket that clients connect to. Loop thread; listener_open() before it runs. */
#ifndef LISTENER_H
#define LISTENER_H

#include "server/server.h"

enum {
    LISTENER_ADDRESS_MAX = 80, /* bytes of an address as text, with the NUL */
};

/* Binds and listens as configured. The message of an error says what to do. */
MUST_CHECK enum status listener_open(struct server *server, struct error *error);

/* Takes the pending connection, or turns it away if there are too many. False: no memory; it is
 * still pending, and libuv calls nobody again until it is taken. */
bool listener_take(struct server *server);

/* The address with the port really used: "127.0.0.1:6333". */
void listener_address(const struct server *server, char text[LISTENER_ADDRESS_MAX]);

/* True if other machines can reach it. */
bool listener_is_public(const struct server *server);

#endif
