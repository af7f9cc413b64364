/* slots.h -- which slots of a collection are alive, as of which operation.
 *
 * A slot is the internal number of one version of a point. Its vectors never change: an update
 * takes a new slot. Two numbers a slot say who may see it: the operation that gave birth to it and
 * the one that killed it. A reader whose snapshot is as of operation R sees the slots with
 * born <= R and (died == 0 or died > R), so readers need no lock and never see half a write
 * (DESIGN: invariants 2, 3, 6).
 *
 * Memory: chunks of SLOTS_CHUNK slots that never move; malloc'ed here.
 * Threads: one writer changes, any thread reads.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include "index/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SLOTS_CHUNK_BITS = 14,
    SLOTS_CHUNK = 1 << SLOTS_CHUNK_BITS,
    SLOTS_CHUNKS_MAX = 1 << 16, /* 2^30 slots; the top bits of a slot stay free for flags */
};

#define SLOT_NONE UINT32_MAX
#define SLOT_MAX  ((uint32_t)SLOTS_CHUNK * SLOTS_CHUNKS_MAX - 1)

struct slots;

MUST_CHECK enum status slots_create(struct slots **slots, struct error *error);
void slots_free(struct slots *slots);

/* Makes room for the slots below slot_end, so that what follows cannot fail. Writer. */
MUST_CHECK enum status slots_reserve(struct slots *slots, uint32_t slot_end, struct error *error);

/* The first slot number that was never born. Any thread. */
uint32_t slots_end(const struct slots *slots);

/* A slot is born (or born again after it was freed) or dies with an operation (> 0). Writer. */
void slots_born(struct slots *slots, uint32_t slot, uint64_t operation);
void slots_died(struct slots *slots, uint32_t slot, uint64_t operation);

/* True if a reader as of `operation` sees the slot. Any thread; slot may be any number. */
bool slots_visible(const struct slots *slots, uint32_t slot, uint64_t operation);

/* Asks for what slots_visible will read. Any thread; slot may be any number. */
void slots_prefetch(const struct slots *slots, uint32_t slot);

/* The operation that gave birth to the slot last; 0 if none did. Any thread. */
uint64_t slots_born_at(const struct slots *slots, uint32_t slot);

/* The operation that killed the slot; 0 if it lives or was never born. Any thread. */
uint64_t slots_died_at(const struct slots *slots, uint32_t slot);

/* Counts the slots that live now. Any thread; a moment's figure. */
uint64_t slots_live_count(const struct slots *slots);

#endif
