/* request.h -- what the head of a request means: may it go on, and to which route?
 *
 * Decided when the head is complete and before the first byte of the body is kept. Loop thread, and
 * workers for connections of the lane.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include "server/server.h"

enum request_verdict {
    REQUEST_RUN,         /* a worker answers it */
    REQUEST_RUN_ON_LOOP, /* public, touches no storage: answered when every worker is stuck */
    REQUEST_ANSWERED,    /* the job holds the answer; the body is thrown away */
    REQUEST_LAST,        /* as ANSWERED, and the connection must end with it */
};

/* Fills in route, arguments, query and rights of the job's call, or its answer, and what the reply
 * needs to know of the request. */
enum request_verdict request_judge(struct server *server, const struct http_head *head,
                                   struct job *job);

/* Puts an error of HTTP itself into the job. text is a sentence of ours. */
void request_refuse(struct job *job, unsigned http_status, const char *text);

/* Puts "try again later" into the job. */
void request_refuse_for_now(struct job *job, const char *text);

#endif
