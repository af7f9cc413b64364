#include "index/slots.h"

#include <assert.h>
#include <stdlib.h>

struct slot {
    _Atomic uint64_t born;
    _Atomic uint64_t died;
};

struct slots {
    _Atomic(struct slot *) *chunks; /* SLOTS_CHUNKS_MAX pointers; pages come when they are used */
    uint32_t chunks_count;          /* writer only */
    _Atomic uint32_t end;
    _Atomic uint64_t live_count;
};

enum status slots_create(struct slots **out, struct error *error) {
    struct slots *slots = calloc(1, sizeof(*slots));
    if (slots)
        slots->chunks = calloc(SLOTS_CHUNKS_MAX, sizeof(slots->chunks[0]));
    if (!slots || !slots->chunks) {
        slots_free(slots);
        return error_set(error, STATUS_NO_MEMORY, "out of memory for a table of slots");
    }
    *out = slots;
    return STATUS_OK;
}

void slots_free(struct slots *slots) {
    if (!slots)
        return;
    for (uint32_t i = 0; i < slots->chunks_count; i++)
        free(atomic_load_explicit(&slots->chunks[i], memory_order_relaxed));
    free(slots->chunks);
    free(slots);
}

enum status slots_reserve(struct slots *slots, uint32_t slot_end, struct error *error) {
    if (slot_end > SLOT_MAX)
        return error_set(error, STATUS_TOO_LARGE, "a collection holds at most %u slots", SLOT_MAX);
    while ((uint64_t)slots->chunks_count * SLOTS_CHUNK < slot_end) {
        struct slot *chunk = calloc(SLOTS_CHUNK, sizeof(*chunk));
        if (!chunk)
            return error_set(error, STATUS_NO_MEMORY, "out of memory for %u slots", slot_end);
        atomic_store_explicit(&slots->chunks[slots->chunks_count++], chunk, memory_order_release);
    }
    return STATUS_OK;
}

uint32_t slots_end(const struct slots *slots) {
    return atomic_load_explicit(&slots->end, memory_order_acquire);
}

/* NULL beyond what is reserved. */
static struct slot *find(const struct slots *slots, uint32_t number) {
    if (number > SLOT_MAX)
        return NULL;
    struct slot *chunk =
        atomic_load_explicit(&slots->chunks[number >> SLOTS_CHUNK_BITS], memory_order_acquire);
    return chunk ? &chunk[number & (SLOTS_CHUNK - 1)] : NULL;
}

void slots_born(struct slots *slots, uint32_t slot, uint64_t operation) {
    struct slot *life = find(slots, slot);
    assert(life && operation > 0);
    uint64_t born = atomic_load_explicit(&life->born, memory_order_relaxed);
    uint64_t died = atomic_load_explicit(&life->died, memory_order_relaxed);
    assert(born == 0 || died != 0); /* a living slot is not born again */
    /* born first: until died is cleared the slot stays dead for everyone (see slots_visible). */
    atomic_store_explicit(&life->born, operation, memory_order_release);
    atomic_store_explicit(&life->died, 0, memory_order_release);
    atomic_fetch_add_explicit(&slots->live_count, 1, memory_order_relaxed);
    if (slot >= atomic_load_explicit(&slots->end, memory_order_relaxed))
        atomic_store_explicit(&slots->end, slot + 1, memory_order_release);
}

void slots_died(struct slots *slots, uint32_t slot, uint64_t operation) {
    struct slot *life = find(slots, slot);
    assert(life && operation > 0);
    assert(atomic_load_explicit(&life->born, memory_order_relaxed) != 0);
    assert(atomic_load_explicit(&life->died, memory_order_relaxed) == 0);
    atomic_store_explicit(&life->died, operation, memory_order_release);
    atomic_fetch_sub_explicit(&slots->live_count, 1, memory_order_relaxed);
}

bool slots_visible(const struct slots *slots, uint32_t slot, uint64_t operation) {
    const struct slot *life = find(slots, slot);
    if (!life)
        return false;
    /* died before born: whoever reads the cleared died of a rebirth also reads its new born. */
    uint64_t died = atomic_load_explicit(&life->died, memory_order_acquire);
    uint64_t born = atomic_load_explicit(&life->born, memory_order_acquire);
    return born != 0 && born <= operation && (died == 0 || died > operation);
}

void slots_prefetch(const struct slots *slots, uint32_t slot) {
    __builtin_prefetch(find(slots, slot));
}

uint64_t slots_born_at(const struct slots *slots, uint32_t slot) {
    const struct slot *life = find(slots, slot);
    return life ? atomic_load_explicit(&life->born, memory_order_acquire) : 0;
}

uint64_t slots_died_at(const struct slots *slots, uint32_t slot) {
    const struct slot *life = find(slots, slot);
    return life ? atomic_load_explicit(&life->died, memory_order_acquire) : 0;
}

uint64_t slots_live_count(const struct slots *slots) {
    return atomic_load_explicit(&slots->live_count, memory_order_relaxed);
}
