#include "server/lane.h"

#include "api/api.h"
#include "server/job.h"

#include <assert.h>
#include <stdlib.h>

enum {
    STAGE_BITS = 3,
    STAGE_MASK = (1 << STAGE_BITS) - 1,
    PLACE_BITS = 16, /* of a key; the others are the turn's */
};
static_assert((int)LANE_RECALLED <= (int)STAGE_MASK, "a stage fits beside the count");
static_assert((int)LANE_SEATS <= 1 << PLACE_BITS, "a place fits into a key");

struct lane {
    struct wait_set *wait_set;
    void (*wake)(void *context);
    void *context;
    struct lane_seat *free_seats; /* the loop's */
    size_t used;                  /* seats that were ever given out; the loop's */
    size_t taken;                 /* the loop's */
    _Atomic(struct lane_seat *) returned;
    struct lane_seat seats[LANE_SEATS];
};

static enum lane_stage stage_of(uint64_t turn) {
    return (enum lane_stage)(turn & STAGE_MASK);
}

static uint64_t with_stage(uint64_t turn, enum lane_stage stage) {
    return (turn & ~(uint64_t)STAGE_MASK) | stage;
}

/* Goes from one turn to another if it is still there; else *turn is what it is now. */
static bool move(struct lane_seat *seat, uint64_t *turn, enum lane_stage to) {
    return atomic_compare_exchange_strong(&seat->turn, turn, with_stage(*turn, to));
}

static uint64_t key_of(const struct lane *lane, const struct lane_seat *seat) {
    uint64_t count = atomic_load(&seat->turn) >> STAGE_BITS;
    return count << PLACE_BITS | (uint64_t)(seat - lane->seats);
}

enum status lane_create(struct wait_set *wait_set, void (*wake)(void *context), void *context,
                        struct lane **created, struct error *error) {
    struct lane *lane = calloc(1, sizeof(*lane)); /* pages of seats in use only */
    if (!lane)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the connections of workers");
    lane->wait_set = wait_set;
    lane->wake = wake;
    lane->context = context;
    *created = lane;
    return STATUS_OK;
}

void lane_free(struct lane *lane) {
    assert(!lane || lane->taken == 0);
    free(lane);
}

/* ---- The loop ------------------------------------------------------------------------------- */

struct lane_seat *lane_enter(struct lane *lane, struct connection *connection, int fd,
                             struct job *job, unsigned served_max) {
    struct lane_seat *seat = lane->free_seats;
    if (seat)
        lane->free_seats = seat->next;
    else if (lane->used < LANE_SEATS)
        seat = &lane->seats[lane->used++];
    else
        return NULL;
    lane->taken++;
    seat->connection = connection;
    seat->fd = fd;
    seat->served_max = served_max;
    seat->is_watched = seat->is_unusual = seat->is_lost = false;
    seat->job = NULL;
    seat->bytes = NULL;
    seat->length = 0;
    job->seat = seat;
    atomic_store(&seat->running, job);
    atomic_store(&seat->served, 0);
    uint64_t count = (atomic_load(&seat->turn) >> STAGE_BITS) + 1;
    atomic_store(&seat->turn, count << STAGE_BITS | LANE_BUSY);
    return seat;
}

bool lane_recall(struct lane_seat *seat) {
    uint64_t turn = atomic_load(&seat->turn);
    assert(stage_of(turn) != LANE_FREE);
    while (stage_of(turn) != LANE_RECALLED) {
        bool is_waiting = stage_of(turn) == LANE_WAITING;
        if (move(seat, &turn, LANE_RECALLED))
            return is_waiting;
    }
    return false;
}

bool lane_cancel(struct lane_seat *seat) {
    assert(stage_of(atomic_load(&seat->turn)) == LANE_RECALLED);
    /* The worker gives this job back before anybody lets go of it. */
    struct job *job = atomic_load(&seat->running);
    if (job)
        atomic_store_explicit(&job->call.is_cancelled, true, memory_order_relaxed);
    return job != NULL;
}

bool lane_is_running(const struct lane_seat *seat) {
    return atomic_load(&seat->running) != NULL;
}

unsigned lane_served(const struct lane_seat *seat) {
    return atomic_load_explicit(&seat->served, memory_order_relaxed);
}

void lane_leave(struct lane *lane, struct lane_seat *seat) {
    assert(lane->taken > 0);
    if (seat->is_watched)
        wait_set_forget(lane->wait_set, seat->fd);
    atomic_store(&seat->turn, with_stage(atomic_load(&seat->turn), LANE_FREE));
    seat->next = lane->free_seats;
    lane->free_seats = seat;
    lane->taken--;
}

struct lane_seat *lane_take_returned(struct lane *lane) {
    return atomic_exchange(&lane->returned, NULL);
}

/* ---- Workers -------------------------------------------------------------------------------- */

struct lane_seat *lane_take(struct lane *lane, uint64_t key) {
    struct lane_seat *seat = &lane->seats[key & ((1 << PLACE_BITS) - 1)];
    uint64_t turn = atomic_load(&seat->turn);
    for (;;) {
        bool is_its = turn >> STAGE_BITS == key >> PLACE_BITS;
        enum lane_stage stage = stage_of(turn);
        if (!is_its || (stage != LANE_WAITING && stage != LANE_BUSY))
            return NULL;
        if (move(seat, &turn, stage == LANE_WAITING ? LANE_BUSY : LANE_ONCE_MORE))
            return stage == LANE_WAITING ? seat : NULL;
    }
}

/* Bytes that came before it is watched are news then, so none are missed. */
static bool watch(struct lane *lane, struct lane_seat *seat) {
    if (!seat->is_watched)
        seat->is_watched = wait_set_watch(lane->wait_set, seat->fd, key_of(lane, seat));
    return seat->is_watched;
}

enum lane_verdict lane_rest(struct lane *lane, struct lane_seat *seat) {
    if (!watch(lane, seat))
        return LANE_IS_ASKED;
    uint64_t turn = atomic_load(&seat->turn);
    while (stage_of(turn) != LANE_RECALLED) {
        bool is_over = stage_of(turn) == LANE_BUSY;
        if (move(seat, &turn, is_over ? LANE_WAITING : LANE_BUSY))
            return is_over ? LANE_RESTS : LANE_GOES_ON;
    }
    return LANE_IS_ASKED;
}

void lane_give_back(struct lane *lane, struct lane_seat *seat) {
    uint64_t turn = atomic_load(&seat->turn);
    while (stage_of(turn) != LANE_RECALLED && !move(seat, &turn, LANE_RECALLED))
        ;
    seat->next = atomic_load(&lane->returned);
    while (!atomic_compare_exchange_weak(&lane->returned, &seat->next, seat))
        ;
    lane->wake(lane->context);
}
