/* body_store.h -- memory of large bodies, kept from one request to the next.
 *
 * A block of megabytes from malloc() is mapped anew each time: the call waits while any other
 * thread of the process unmaps something, which on a busy machine takes longer than the loop may
 * stand still, and then each page of it faults once. Kept blocks cost neither.
 *
 * Blocks are taken by the loop and given back by any thread; only the loop frees them, one a tick:
 * while more than kept_max bytes are kept, and all after some seconds without a large body.
 */
#ifndef BODY_STORE_H
#define BODY_STORE_H

#include <stdatomic.h>
#include <stddef.h>

enum {
    BODY_STORE_BLOCK_MIN = 128 * 1024, /* smaller bodies belong into the arena */
    BODY_STORE_KEPT_MAX = 128 * 1024 * 1024,
    BODY_STORE_ROUND = 256 * 1024, /* sizes are multiples of it, so that blocks fit again */
    BODY_STORE_IDLE_TICKS = 40,    /* calls of body_store_trim() before it frees */
};

struct body_block {
    struct body_block *next; /* the store's */
    size_t size;             /* of bytes */
    char bytes[];
};

struct body_store {
    _Atomic(struct body_block *) returned; /* by any thread, not yet seen by the loop */
    atomic_size_t kept_bytes;              /* in both lists */
    struct body_block *kept;               /* the loop's */
    size_t kept_max;                       /* bytes; set before use */
    unsigned idle_ticks;                   /* since the last take */
};

/* A block of at least size bytes; NULL: out of memory. Loop thread. */
struct body_block *body_store_take(struct body_store *store, size_t size);

/* Takes a block back. Any thread. */
void body_store_give(struct body_store *store, struct body_block *block);

/* Frees one block if too much is kept, or none was taken for a while: one, for unmapping megabytes
 * takes its time. Loop thread, on each tick. */
void body_store_trim(struct body_store *store);

/* Frees all that is kept. When no other thread is left. */
void body_store_free(struct body_store *store);

#endif
