/* connection.h -- one client: reads requests, has them answered, one at a time and in order.
 *
 *                    first byte       head complete          body complete
 *     (accepted) -> IDLE ------> HEAD ----------------> BODY ---------------> RUNNING
 *                    ^            |                      |                       | answer stands
 *                    |            | refused, too slow    | refused, too slow     v
 *                    |            +----------------------+------------------> ANSWERING
 *                    | sent, the connection stays                              |   |
 *                    +---------------------------------------------------------+   | sent, it ends
 *                                                                                  v
 *      CLOSING <--- from every state: error, client gone, deadline <---------- LINGERING
 *
 * While a request is RUNNING the connection reads on only to learn that the client has left; what
 * comes meanwhile is kept, up to a limit, and parsed when the answer has been sent. The worker may
 * have sent the answer itself (reply.h): then the connection is RUNNING until it is looked at
 * again, by its next bytes or at the next tick, and passes through ANSWERING with nothing left to
 * send. LINGERING reads and throws away, for a while, what the client still sends: closing a socket
 * with unread bytes resets it, and the client would lose the answer that tells it what was wrong.
 *
 * After some usual requests a RUNNING connection becomes LANED: the workers serve it by themselves,
 * and the loop neither reads nor sends (lane.h). It looks now and then: one on which nothing
 * happens it takes back, and becomes IDLE; one that runs a long request it recalls, and reads on
 * meanwhile to learn whether the client has left. What a worker gives back becomes RUNNING if there
 * is an answer to be sent, else IDLE, and is read on from there.
 *
 * Memory: the struct, and nothing more while idle. Loop thread only.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "server/request.h"
#include "server/server.h"

enum connection_state {
    CONNECTION_IDLE,
    CONNECTION_HEAD,
    CONNECTION_BODY,
    CONNECTION_RUNNING,
    CONNECTION_LANED,
    CONNECTION_ANSWERING,
    CONNECTION_LINGERING,
    CONNECTION_CLOSING,
    CONNECTION_STATES,
};

enum {
    CONNECTION_UNREAD_BYTES_MAX = 64 * 1024, /* sent ahead by the client; then we stop reading */
    CONNECTION_SEND_STEP_BYTES = 128 * 1024, /* of an answer at a time */
    CONNECTION_REQUESTS_MAX = 10000,         /* then it must connect anew */
    CONNECTION_AGE_MAX_MS = 3600 * 1000,
    /* Of a body at least so much must come in each window; at once and then nothing will not do. */
    CONNECTION_BODY_WINDOW_MS = 60 * 1000,
    CONNECTION_BODY_WINDOW_BYTES = 60 * 1024,
    CONNECTION_LOOK_MS = 250,  /* between looks whether a worker has sent the answer, and at a
                                * connection in the lane */
    CONNECTION_LANE_AFTER = 2, /* usual requests; after unusual ones more are asked for, up to */
    CONNECTION_LANE_AFTER_MAX = 1024,
    CONNECTION_GONE_MS = 1000, /* a request whose client closed its side runs on for so long:
                                * it may have closed only its sending side */
    CONNECTION_LINGER_IDLE_MS = 5 * 1000, /* without a byte */
    CONNECTION_LINGER_DRAINING_MS = 500,  /* the same while the server stops */
    CONNECTION_LINGER_MS = 30 * 1000,     /* in all */
    CONNECTION_LINGER_BYTES_MAX = 128 * 1024 * 1024,
};

struct connection {
    uv_tcp_t tcp; /* data points back to the connection */
    struct server *server;
    struct connection *next, **link; /* server's list */
    struct timer_entry timer;
    enum connection_state state;
    bool is_reading;
    bool input_ended;       /* the client has closed its sending side */
    bool stays;             /* after the present answer */
    bool is_last;           /* the client said that no request follows, and sent nothing more */
    bool discards;          /* the body of the present request is thrown away */
    bool is_answered;       /* the verdict on the head was an answer */
    bool runs_on_loop;      /* public route: no worker needed */
    bool is_body_lost;      /* no memory for a piece of it */
    bool is_delegated;      /* a worker may send the present answer (reply.h) */
    bool is_recalled;       /* from the lane, and not back yet */
    bool is_abandoned;      /* ends when the job comes back, which may still be sending */
    int fd;                 /* tcp's */
    uint32_t requests;      /* answered so far */
    uint32_t lane_from;     /* so many must have been, that it may enter the lane, */
    uint32_t lane_patience; /* which is so many after it left it last */
    unsigned lane_served;   /* in the lane, when we looked last */
    struct lane_seat *seat; /* while LANED */
    uint64_t opened_ms;
    uint64_t since_ms;        /* entered the present state */
    uint64_t received;        /* bytes of the present body, or while lingering */
    uint64_t received_before; /* the present window of the body */
    size_t unsent;            /* when the deadline of ANSWERING was set */
    struct http_parser parser;
    struct job *job; /* from the head's end to the answer's; while RUNNING it is not ours */
    char *unread;    /* owned; sent ahead by the client; counted in the budget of bodies */
    size_t unread_length;
    uv_write_t write;
    uv_shutdown_t shutdown;
};

/* A connection that uv_accept() can fill; NULL: out of memory. Then start or close it. */
struct connection *connection_create(struct server *server);
void connection_start(struct connection *connection);

/* The job came back; sends its answer, or lets it go if the client has left. */
void connection_answer(struct server *server, struct job *job);

/* A worker gave the connection of this seat back. */
void connection_lane_return(struct lane_seat *seat);

/* The deadline of a connection's timer has passed. */
void connection_expire(struct timer_entry *timer);

/* The server stops: the connection ends now if it is idle, else with its answer. */
void connection_drain(struct connection *connection);

/* Ends it at once, or as soon as no worker can be sending on it. */
void connection_close(struct connection *connection);

#endif
