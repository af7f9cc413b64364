/* lane_serve.h -- what a worker does for a connection of the lane: reads, runs, answers.
 *
 * Only whole requests of the usual kind are served here: of known length, at most
 * LANE_REQUEST_BYTES_MAX with their head, nothing behind them, that read, and whose answer the
 * socket takes at once. All others go to the loop, and the connection with them, as if the loop had
 * read the bytes itself. A request may come in pieces, which wait at its seat.
 *
 * A hand is one worker's: its buffer and the jobs that it creates. Worker threads.
 */
#ifndef LANE_SERVE_H
#define LANE_SERVE_H

#include "index/status.h"

#include <stdint.h>

enum {
    LANE_REQUEST_BYTES_MAX = 64 * 1024,
    LANE_REQUESTS_A_TURN = 64, /* that were there as soon as the answer before was sent */
};

struct job;
struct lane_hand;
struct server;

MUST_CHECK enum status lane_hand_create(struct server *server, struct lane_hand **hand,
                                        struct error *error);

/* After the last of its jobs was let go of. */
void lane_hand_free(struct lane_hand *hand);

/* Serves the connection that the wait set has named. */
void lane_serve(struct lane_hand *hand, uint64_t key);

/* Runs a job that the loop has handed over, and goes on with its connection if that has a seat. */
void lane_run(struct lane_hand *hand, struct job *job);

#endif
