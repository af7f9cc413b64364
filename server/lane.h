/* lane.h -- connections that workers serve by themselves, and who holds each of them.
 *
 * Every handing over, from the loop to a worker and back, may wake a thread and moves a request
 * from one core's cache to another's, which costs about what reading, parsing and answering it do.
 * So a connection on which one usual request comes after another is given to the workers, socket
 * and all: whichever wakes for its bytes reads the request, runs it and sends the answer
 * (lane_serve.h). Whatever is not usual makes the worker give it back to the loop.
 *
 * A connection in the lane has a seat:
 *
 *      loop         worker that has sent the answer      any worker
 *     (free) ----> BUSY ------------------------> WAITING ---------> BUSY ...
 *                   | ^                              |
 *          bytes    v | read on                      | the loop takes it back
 *               ONCE_MORE                            v
 *                   |                              (free)
 *                   | loop recalls, or the worker gives up
 *                   +----------> RECALLED -----------^
 *                                      worker gives back
 *
 * BUSY, ONCE_MORE: one worker holds the seat, and only it touches the socket; another that is named
 * its bytes meanwhile notes that there are some. RECALLED: it will be given back; the loop alone
 * frees it. While the worker still runs a request for it (lane_is_running), which it has read
 * whole, the loop may read the socket, to hear of the client's end. Nobody ever waits for the other
 * side.
 *
 * A seat is named by its place and by how often it was given out, so that news of a connection that
 * has left means nothing to the next one. Seats are never freed while there are workers.
 */
#ifndef LANE_H
#define LANE_H

#include "server/wait_set.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LANE_SEATS = 1024, /* further connections are served by the loop */
};

enum lane_stage {
    LANE_FREE,
    LANE_WAITING,
    LANE_BUSY,
    LANE_ONCE_MORE,
    LANE_RECALLED,
};

struct connection;
struct job;

struct lane_seat {
    _Atomic uint64_t turn;         /* times given out * 8 + stage */
    _Atomic(struct job *) running; /* what a worker runs for it at the moment */
    atomic_uint served;            /* requests so far */
    unsigned served_max;           /* then the loop must see the connection */
    struct connection *connection; /* the loop's */
    int fd;                        /* the connection's; whoever holds the seat */
    bool is_watched;               /* whoever holds the seat, like all below */
    bool is_unusual;               /* given back because of what came */
    bool is_lost;                  /* there was no memory to keep what came */
    struct job *job;               /* given back with an answer that is not all sent */
    char *bytes;                   /* owned; of a request that is not whole; counted in the budget
                                    * of bodies */
    size_t length;
    struct lane_seat *next; /* in the list of free or of returned ones */
};

struct lane;

/* The workers' sleep is borrowed. wake: a seat was given back; any thread; may be called once for
 * several. */
MUST_CHECK enum status lane_create(struct wait_set *wait_set, void (*wake)(void *context),
                                   void *context, struct lane **lane, struct error *error);

/* All seats must have come back. */
void lane_free(struct lane *lane);

/* ---- The loop ------------------------------------------------------------------------------- */

/* A seat, BUSY with the job that the caller hands to a worker next; sets job.seat. fd is borrowed
 * until lane_leave(). After served_max requests workers give it back. NULL: all are taken. */
struct lane_seat *lane_enter(struct lane *lane, struct connection *connection, int fd,
                             struct job *job, unsigned served_max);

/* Wants the connection back. True: it is the caller's at once; false: it will be given back. */
MUST_CHECK bool lane_recall(struct lane_seat *seat);

/* The call that a worker runs for this seat, which was recalled before, is not needed any more;
 * false: it runs none. */
bool lane_cancel(struct lane_seat *seat);

/* True if a worker has read a request for this seat and runs it. */
bool lane_is_running(const struct lane_seat *seat);

/* Requests served so far. */
unsigned lane_served(const struct lane_seat *seat);

/* Frees a seat that is the loop's: recalled at once, given back, or never handed over. What is in
 * it (job, bytes) the caller has taken out. */
void lane_leave(struct lane *lane, struct lane_seat *seat);

/* Takes the seats that were given back, linked by next; NULL if none. */
struct lane_seat *lane_take_returned(struct lane *lane);

/* ---- Workers -------------------------------------------------------------------------------- */

/* The seat of a key that the wait set has named, now BUSY and the caller's. NULL: another worker's,
 * which will look again, or the loop's, which has its own ways to hear. */
struct lane_seat *lane_take(struct lane *lane, uint64_t key);

enum lane_verdict {
    LANE_RESTS,    /* it is nobody's until bytes come */
    LANE_GOES_ON,  /* still the caller's, which must read again: bytes came meanwhile */
    LANE_IS_ASKED, /* still the caller's, which must give it back */
};

/* All that was read is served. */
enum lane_verdict lane_rest(struct lane *lane, struct lane_seat *seat);

/* Gives the seat, with what is in it, to the loop. */
void lane_give_back(struct lane *lane, struct lane_seat *seat);

#endif
