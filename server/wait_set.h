/* wait_set.h -- where workers sleep: until one of them is called, or a socket has bytes.
 *
 * One epoll, in which all of them wait. A socket is watched edge by edge, so it is named once each
 * time bytes come, to one thread, and nothing has to be armed again; whoever was named it reads
 * until less came than was asked for.
 *
 * A call wakes one thread. Calls are counted: a thread that is woken for several passes the rest
 * on. Whoever calls first takes a sleeper out of the number, so that none is called twice before it
 * has got its core: on a busy machine that was most of the calls, and each is a system call.
 *
 *     sleepers = threads that sleep, or are about to, less calls that nobody has answered yet
 *
 * A thread that wakes for another reason takes itself out; if it was called at the same time, the
 * number is one short until somebody answers the call, for nothing. So there may be a call too
 * many, never one too few, and nobody waits for anybody.
 */
#ifndef WAIT_SET_H
#define WAIT_SET_H

#include "index/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WAIT_SET_NONE UINT64_MAX /* no socket: the thread was called, or need not sleep */

struct wait_set {
    int epoll, bell; /* -1: none; the bell is an eventfd that holds the calls */
    atomic_int sleepers;
    atomic_int watched; /* sockets */
};

MUST_CHECK enum status wait_set_open(struct wait_set *set, struct error *error);
void wait_set_close(struct wait_set *set);

/* Sleeps until called or until a watched socket has news, whose key is returned. Does not if
 * has_work says so, which is asked after callers can see the sleeper: what is put for it to find
 * before a call is seen by the one or by the other. */
uint64_t wait_set_sleep(struct wait_set *set, bool (*has_work)(void *context), void *context);

/* The key of a socket that has news, without sleeping. WAIT_SET_NONE: there is none, or a call was
 * answered in a sleeper's place: look for work. */
uint64_t wait_set_peek(struct wait_set *set);

/* Wakes a thread that sleeps. False: none does, and each looks for work before it sleeps. Any
 * thread. */
bool wait_set_call(struct wait_set *set);

/* Any thread. News from before count. False: the system has no memory for it. */
bool wait_set_watch(struct wait_set *set, int fd, uint64_t key);

/* Its key may still be on the way to a thread. Before the socket is closed. */
void wait_set_forget(struct wait_set *set, int fd);

#endif
