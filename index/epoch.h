/* epoch.h -- when has everyone who might still look at something left?
 *
 * Whoever reads enters and leaves; whoever takes something away advances the epoch and may reuse it
 * once that epoch has passed: once nobody is inside who entered before the advance. Any thread.
 */
#ifndef EPOCH_H
#define EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    EPOCH_READERS_MAX = 64 /* inside at once; more wait their turn */
};

struct epoch {
    _Atomic uint64_t present;
    _Atomic uint64_t inside[EPOCH_READERS_MAX]; /* epoch at which a reader entered; 0: free */
};

void epoch_init(struct epoch *epoch);

/* Returns the place to leave by. */
uint32_t epoch_enter(struct epoch *epoch);
void epoch_leave(struct epoch *epoch, uint32_t place);

/* Begins a new epoch and returns the one that ended. */
uint64_t epoch_advance(struct epoch *epoch);
bool epoch_passed(const struct epoch *epoch, uint64_t ended);

#endif
