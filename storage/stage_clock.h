/* stage_clock.h -- what a request's CPU time went into, stage by stage.
 *
 * Time is the thread's own CPU time, so that waiting for a core, which on a busy machine takes
 * longer than the work, does not count. Reading it is a system call of 0.2 to 0.3 us, so only a
 * sample of requests is clocked; for all others each call here is one comparison. What a reading
 * costs is measured when the clock starts and left out of the stages.
 *
 * Memory: part of a request, and its owner's. From start to stop it stays with one thread.
 */
#ifndef STAGE_CLOCK_H
#define STAGE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* X(name): as /metrics names it.
 *
 * parse: the body becomes structs, vectors are checked and normalised. snapshot: the collection and
 * a read transaction are taken and given back. search: the filter is planned and slots are found.
 * rows: the rows of what was found are read. encode: the answer is written. send: its head is
 * written and both are given to the socket, by a worker; the kernel may deliver them to a client on
 * the same machine, and wake it, within the same system call. */
#define STAGE_TABLE(X) \
    X(parse)           \
    X(snapshot)        \
    X(search)          \
    X(rows)            \
    X(encode)          \
    X(send)

enum stage {
#define STAGE_ENUM(name) STAGE_##name,
    STAGE_TABLE(STAGE_ENUM)
#undef STAGE_ENUM
    STAGE_COUNT,
};

struct stage_clock {
    bool is_running;
    bool was_started;
    enum stage stage;               /* the present one */
    uint64_t since_ns;              /* CPU time of the thread when it began */
    uint64_t reading_ns;            /* what reading the clock takes */
    uint64_t spent_ns[STAGE_COUNT]; /* 0: the request was not in this stage */
};

/* Starts the clock of a request that is part of the sample, in the first stage. */
void stage_clock_start(struct stage_clock *clock);

/* From here on time goes into this stage, again if it was in it before. NULL and a clock that does
 * not run: nothing happens. */
void stage_clock_enter(struct stage_clock *clock, enum stage stage);

/* Before the request goes to another thread. */
void stage_clock_stop(struct stage_clock *clock);

const char *stage_clock_name(enum stage stage);

#endif
