/* thread_role.h -- what the calling thread is, so that ownership is asserted and not only written.
 *
 * A thread takes its role once, when it starts. Tests and command line tools have none and may do
 * anything that needs no particular role.
 */
#ifndef THREAD_ROLE_H
#define THREAD_ROLE_H

#include <stdbool.h>

enum thread_role {
    THREAD_ROLE_NONE,
    THREAD_ROLE_LOOP,    /* sockets; never blocks */
    THREAD_ROLE_WORKER,  /* runs requests, reads */
    THREAD_ROLE_WRITER,  /* the only kind that opens write transactions */
    THREAD_ROLE_BUILDER, /* links graphs, at low priority */
};

/* Also names the thread after its role, for `top -H` and the bench. */
void thread_role_set(enum thread_role role);
enum thread_role thread_role_get(void);

/* True if the calling thread has this role, or none at all. */
bool thread_role_may_act_as(enum thread_role role);

#endif
