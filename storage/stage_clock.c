#include "storage/stage_clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void stage_clock_start(struct stage_clock *clock) {
    uint64_t before = cpu_ns();
    *clock = (struct stage_clock){.is_running = true, .was_started = true};
    clock->since_ns = cpu_ns();
    clock->reading_ns = clock->since_ns - before;
}

/* An interrupt may make one reading dearer than the others: a stage never takes less than 1 ns. */
static void end_stage(struct stage_clock *clock, uint64_t now_ns) {
    uint64_t took = now_ns - clock->since_ns;
    clock->spent_ns[clock->stage] += took > clock->reading_ns ? took - clock->reading_ns : 1;
    clock->since_ns = now_ns;
}

void stage_clock_enter(struct stage_clock *clock, enum stage stage) {
    if (!clock || !clock->is_running)
        return;
    end_stage(clock, cpu_ns());
    clock->stage = stage;
}

void stage_clock_stop(struct stage_clock *clock) {
    if (!clock->is_running)
        return;
    end_stage(clock, cpu_ns());
    clock->is_running = false;
}

const char *stage_clock_name(enum stage stage) {
    static const char *const names[] = {
#define STAGE_NAME(name) #name,
        STAGE_TABLE(STAGE_NAME)
#undef STAGE_NAME
    };
    return names[stage];
}
