/* job.h -- one request on its way from the loop to a worker, to a writer, and back.
 *
 * A job has one owner at a time (invariant 4), and only the owner touches it:
 *
 *     loop (job_create, body comes in) -> worker (api_run) -> writer (writes only)
 *          -> loop (the answer is sent) -> api_call_release -> freed by whoever let go last
 *
 * A worker may send the answer itself; the loop then finds the job by its connection (reply.h).
 *
 * What the thread that creates a job allocates for it comes back to that thread to be freed, in
 * `input`; what workers and writers allocate, in `arena`, is freed by a worker. Otherwise they
 * would meet in the allocator's locks, and whoever holds one may lose its core for milliseconds.
 * Jobs are created by the loop and, for connections of the lane (lane.h), by workers.
 *
 * The exceptions: call.is_cancelled and the stage of the reply are atomic, and `connection` is the
 * loop's at all times. After a write was answered before it was applied, a writer may still work in
 * the arena while the loop sends the answer, so the loop does not touch the arena any more.
 */
#ifndef JOB_H
#define JOB_H

#include "api/api.h"
#include "server/body_store.h"
#include "server/job_stack.h"
#include "server/reply.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JOB_CLOCKED_EVERY = 16, /* clocking one costs 2 us, so a request 0.1 us on average */
};

struct connection;
struct job;
struct lane_seat;

/* What all jobs of a server share. Any thread. */
struct job_totals {
    struct api *api;
    size_t body_bytes_max;    /* budget for all bodies and unread input together */
    size_t arena_bytes_fixed; /* what an arena may hold beside API_ARENA_FACTOR times its body */
    atomic_size_t body_bytes; /* of the budget, in use */
    atomic_size_t jobs;       /* alive */
    struct body_store bodies;
    void (*done)(void *context, struct job *job); /* the answer stands; worker or writer thread */
    void *context;
};

/* The jobs that one thread creates; its own but for `spent`. */
struct job_pool {
    struct job_totals *totals;
    struct job_stack spent; /* let go of by their last owner, any thread; to be freed */
    struct job *spare;      /* empty jobs to be used again */
    size_t spare_count;
    uint64_t created; /* so far */
};

/* A piece of a body. One piece when its length was announced; chunked bodies come in several. */
struct job_piece {
    struct job_piece *next;
    struct body_block *block; /* of the store, where the bytes are; NULL: in the arena */
    size_t length, capacity;
    char *bytes;
};

struct job {
    struct api_call call;
    struct arena input;   /* its pool's: what was read of the request, and refusals */
    struct arena arena;   /* the call's, once a worker runs it */
    bool was_handed_over; /* to a worker */
    bool is_clocked;      /* one of the sample whose stages are measured */
    struct job_totals *totals;
    struct job_pool *pool; /* which it came from */
    struct job_piece *first_piece, *last_piece;
    size_t body_length;            /* received so far */
    size_t budget_bytes;           /* taken out of totals->body_bytes */
    struct connection *connection; /* loop only; NULL once the client has left */
    struct job *next;              /* link of the queue the job is in; its owner's */
    struct lane_seat *seat;        /* the connection's in the lane, whose worker has the job from
                                    * beginning to end; NULL: it has none */
    struct reply reply;            /* last: its end is not cleared */
};

void job_pool_init(struct job_pool *pool, struct job_totals *totals);

/* When none of its jobs is alive. */
void job_pool_free(struct job_pool *pool);

/* Frees what was let go of; now and then. */
void job_pool_collect(struct job_pool *pool);

/* NULL: out of memory. The pool's thread, like all of the below but job_run. */
struct job *job_create(struct job_pool *pool, struct connection *connection);

/* Makes room for a body of known length. STATUS_UNAVAILABLE: the budget of all bodies has not so
 * much left; it is taken only as the body comes in. STATUS_NO_MEMORY. */
MUST_CHECK enum status job_expect_body(struct job *job, size_t length);

/* Appends to the body. STATUS_UNAVAILABLE, STATUS_NO_MEMORY. */
MUST_CHECK enum status job_append_body(struct job *job, const char *bytes, size_t length);

/* Where the next bytes of a body of known length belong, so that they can be read there at once;
 * *room is 0 if there is no such place. */
char *job_body_room(struct job *job, size_t *room);

/* Joins the body and runs the call. Read worker; the job may be gone when this returns. */
void job_run(struct job *job);

/* Lets go of the job, for its server. Any thread. */
void job_release(struct job *job);

/* When no job is alive. */
void job_totals_free(struct job_totals *totals);

/* True if the job holds so much memory that it should not wait to be freed. */
bool job_is_large(const struct job *job);

/* Budget that is not a body's: input that a client sent ahead. False: it is spent. */
bool job_totals_take(struct job_totals *totals, size_t bytes);
void job_totals_give(struct job_totals *totals, size_t bytes);

/* Counts bytes that are there already, even if the budget is spent. False: it is; they must leave
 * soon. */
bool job_totals_charge(struct job_totals *totals, size_t bytes);

#endif
