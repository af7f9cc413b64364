/* reply.h -- an answer on its way to the socket, and which thread puts it there.
 *
 * The loop owns the sockets and sends answers. But to be woken for it costs more than the sending,
 * so it may allow the worker that runs a request to send the answer too, when nothing else is to
 * be done on the connection. The loop is then not told: it finds the reply SENT when the
 * connection's next bytes come, or when a tick comes round.
 *
 *      loop           worker                worker
 *     KEPT ----> ALLOWED ----> UNDERWAY -------------> SENT
 *       ^           |             |
 *       +-----------+             +------> AWAITED
 *           loop recalls            loop recalls
 *
 * KEPT and AWAITED: the job comes back to the loop as ever, with a wake-up; so does one that is
 * UNDERWAY when not all of it could be sent. The loop may close the socket unless the reply is
 * UNDERWAY or AWAITED: until then the worker may be about to send on its descriptor. Nobody ever
 * waits for the other side.
 *
 * A job of a connection in the lane (lane.h) is its worker's even when SENT, and never recalled.
 *
 * Memory: part of a job. Only its owner touches it, but for the stage, which both may.
 */
#ifndef REPLY_H
#define REPLY_H

#include "api/api.h"
#include "server/http_head.h"
#include "server/http_response.h"

#include <stdatomic.h>
#include <uv.h>

enum {
    REPLY_ALLOW_BYTES = 96, /* of an Allow header's value */
    REPLY_BUFFERS = 2,      /* head and body */
};

enum reply_stage {
    REPLY_KEPT,
    REPLY_ALLOWED,
    REPLY_UNDERWAY,
    REPLY_AWAITED,
    REPLY_SENT,
};

struct reply {
    _Atomic(enum reply_stage) stage;
    int fd;                                  /* borrowed from the connection; when ALLOWED */
    bool is_head, is_http_1_0, is_preflight; /* of the request */
    bool has_cors;                           /* the server's */
    bool is_begun;                           /* the head is written; parts may be sent */
    bool is_counted;                         /* in the metrics */
    char allow[REPLY_ALLOW_BYTES];           /* value of the header; "": none */
    struct http_text left[REPLY_BUFFERS];    /* not yet given to the socket */
    char head[HTTP_RESPONSE_HEAD_MAX];       /* last: it need not be cleared */
};

/* Writes the head and lays out all of the answer, which must stay where it is. Owner. */
void reply_begin(struct reply *reply, const struct api_answer *answer, bool is_closing);

/* Lays out the next bytes to send, at most bytes_max; returns the number of buffers, 0 at the end.
 * Owner. */
unsigned reply_next(const struct reply *reply, size_t bytes_max, uv_buf_t buffers[REPLY_BUFFERS]);

/* Counts bytes as given to the socket. Owner. */
void reply_pass(struct reply *reply, size_t sent);

/* ---- The loop ------------------------------------------------------------------------------- */

/* The worker that will run the job may send. Before the job is handed over. */
void reply_allow(struct reply *reply, int fd);

/* Takes the permission back as far as that is still possible. REPLY_KEPT or REPLY_AWAITED: the job
 * will come back, with a wake-up. REPLY_SENT: it is the caller's now. */
enum reply_stage reply_recall(struct reply *reply);

/* True: all is sent, and the job the loop's. */
bool reply_is_sent(const struct reply *reply);

/* ---- The worker ----------------------------------------------------------------------------- */

/* True: it may send, and must then do so. */
bool reply_claim(struct reply *reply);

/* Sends what the socket takes at once. REPLY_SENT: that was all, and the job is the loop's: it may
 * be gone. REPLY_AWAITED: the job must be handed back. is_awaited: hand it back in any case. */
enum reply_stage reply_send(struct reply *reply, const struct api_answer *answer, bool is_awaited);

#endif
